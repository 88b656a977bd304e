"""Find bad input before Caffe sees it: Caffe aborts on most of it, and does not notice a wrong label at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from harness.caffe_files.hdf5_list import HDF5Files, check_tops, open_hdf5_list
from harness.caffe_files.image_list import check_images, open_list
from harness.caffe_files.image_survey import Images
from harness.caffe_files.layer_types import IMAGES, ROWS, TRANSFORMED, WINDOWS
from harness.caffe_files.lmdb_file import Progress, Records, open_records
from harness.caffe_files.lr_policy import LR_POLICIES
from harness.caffe_files.messages import pb
from harness.caffe_files.net import NetFile, data_layers, data_param_of, numbered_layers
from harness.caffe_files.paths import is_file
from harness.caffe_files.sources import Sources
from harness.caffe_files.window_file import WindowFile, check_windows, open_window_file
from harness.errors import BadInput, nearest
from harness.supervisor.validation.layers import readers_of
from harness.supervisor.validation.listed_images import check_windowed_images, survey_list
from harness.supervisor.validation.transforms import mean_of
from harness.training_data.lmdb_scan import scan_apart

_SOLVERS = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")
# the message that names the file which a layer of that type reads
_SOURCES = {"ImageData": "image_data_param", "HDF5Data": "hdf5_data_param", "WindowData": "window_data_param"}


def check_solver(solver: pb.SolverParameter, kind: str, path: Path) -> None:
    """Check the fields for whose values Caffe would abort, at the start or at the first update."""
    if not solver.HasField("lr_policy"):
        raise BadInput("not given", file=path, field="lr_policy", remedy=f"One of {', '.join(LR_POLICIES)}")
    if solver.lr_policy not in LR_POLICIES:
        raise BadInput(
            "no such policy", file=path, field="lr_policy", value=solver.lr_policy,
            remedy=nearest(solver.lr_policy, LR_POLICIES),
        )  # fmt: skip
    if solver.HasField("type") and solver.HasField("solver_type"):  # upgrade_proto.cpp
        raise BadInput("cannot be given together with type", file=path, field="solver_type", value=kind,
                       remedy="Leave it out")  # fmt: skip
    if solver.HasField("type") and solver.type not in _SOLVERS:
        raise BadInput(
            "no such solver type", file=path, field="type", value=solver.type, remedy=nearest(solver.type, _SOLVERS)
        )
    if solver.max_iter <= 0:
        raise BadInput(
            "nothing to do", file=path, field="max_iter", value=solver.max_iter, remedy="Give the number of iterations"
        )
    for field in ("iter_size", "average_loss"):
        if getattr(solver, field) < 1:
            raise BadInput("must be at least 1", file=path, field=field, value=getattr(solver, field),
                           remedy="Leave it out for 1")  # fmt: skip
    if solver.test_iter and solver.test_interval <= 0:
        raise BadInput(
            "must be positive where test_iter is given",
            file=path,
            field="test_interval",
            value=solver.test_interval,
            remedy="Give an interval, or leave test_iter out",
        )
    if solver.lr_policy in ("step", "sigmoid") and solver.stepsize <= 0:
        raise BadInput(
            f"must be positive for lr_policy {solver.lr_policy}",
            file=path,
            field="stepsize",
            value=solver.stepsize,
            remedy="Give the number of iterations of a step",
        )
    if solver.lr_policy not in ("fixed", "poly") and solver.gamma < 0:  # SGDSolver::GetLearningRate
        raise BadInput("must not be negative", file=path, field="gamma", value=f"{solver.gamma:g}",
                       remedy="Leave it out for 0")  # fmt: skip
    if kind in ("AdaGrad", "RMSProp") and solver.momentum:
        raise BadInput(
            f"{kind} takes no momentum", file=path, field="momentum", value=f"{solver.momentum:g}",
            remedy="Leave it out",
        )  # fmt: skip
    if kind == "RMSProp" and not 0 <= solver.rms_decay < 1:
        raise BadInput(
            "must lie between 0 and 1", file=path, field="rms_decay", value=f"{solver.rms_decay:g}",
            remedy="Leave it out for 0.99",
        )  # fmt: skip
    if solver.weight_decay and solver.regularization_type not in ("L1", "L2"):
        raise BadInput(
            "no such regularization", file=path, field="regularization_type", value=solver.regularization_type,
            remedy="L1 or L2",
        )  # fmt: skip


def check_layers(net: NetFile, phase: str) -> None:
    """Check that the net has layers in its phase, and that every bottom is the top of an earlier layer."""
    made = set(net.param.input)  # nets before Input layers
    if not net.layers:
        raise BadInput(
            f"no layer is left in the {phase} phase", file=net.source, remedy="Check the layers' include and exclude"
        )
    for layer in net.layers:
        for bottom in layer.bottom:
            if bottom not in made:
                raise BadInput(
                    f"no layer before it makes that blob in the {phase} phase",
                    file=f"{net.source}: layer {layer.name}",
                    field="bottom",
                    value=bottom,
                    remedy=nearest(bottom, made) if made else f"Is there a data layer for the {phase} phase?",
                )
        made.update(layer.top)
        where = f"{net.source}: layer {layer.name}"
        if layer.type in IMAGES + WINDOWS + ROWS and data_param_of(layer).batch_size < 1:
            raise BadInput("must be at least 1", file=where, field="batch_size", value=data_param_of(layer).batch_size,
                           remedy="Give the number of images of a batch")  # fmt: skip
        if layer.type == "Dropout" and not 0 <= layer.dropout_param.dropout_ratio < 1:
            raise BadInput("must lie between 0 and 1", file=where, field="dropout_ratio",
                           value=f"{layer.dropout_param.dropout_ratio:g}", remedy="Leave it out for 0.5")  # fmt: skip


def check_snapshot_names(solver: pb.SolverParameter, net: NetFile, path: Path) -> None:
    """Check for layers without a name of their own, or with a slash in it: Caffe makes a group of each in HDF5.

    At the first snapshot, it would abort (Net::ToHDF5, net.cpp).
    """
    if solver.snapshot_format != pb.SolverParameter.HDF5:
        return
    readers = readers_of(net.layers)  # a layer that writes in place makes another blob of the name
    split = [
        blob for (_, _, blob), reading in readers.items() if len(reading) > 1
    ]  # Split layers are named after these
    names = Counter(layer.name for layer in net.layers)
    for name in [*names, *split]:
        if "/" in name or not name or names[name] > 1:
            what = (
                "a slash in a name"
                if "/" in name
                else "several layers of one name"
                if name
                else "a layer without a name"
            )
            raise BadInput(
                f"Caffe cannot write an HDF5 snapshot of a net with {what} ({name}): it aborts",
                file=path,
                field="snapshot_format",
                value="HDF5",
                remedy="Leave snapshot_format out (BINARYPROTO), or rename the layer",
            )


def check_sources(net: NetFile) -> None:
    """Check that every file that a layer of `net` reads exists, and that its Data layers are on LMDB."""
    for layer in net.layers:
        where = f"{net.source}: layer {layer.name}"
        field = _SOURCES.get(layer.type)
        if field is not None and not is_file(getattr(layer, field).source):
            raise BadInput(
                "no such file", file=where, field=f"{field}.source", value=getattr(layer, field).source,
                remedy=f"Caffe resolves it from the current directory ({Path.cwd()})",
            )  # fmt: skip
        matrix = layer.infogain_loss_param.source
        if layer.type == "InfogainLoss" and len(layer.bottom) < 3 and not is_file(matrix):
            raise BadInput("no such file", file=where, field="infogain_loss_param.source", value=matrix,
                           remedy="Give the infogain matrix as a BlobProto file, or as a third bottom")  # fmt: skip
        resized = layer.image_data_param
        if layer.type == "ImageData" and (resized.new_height > 0) != (resized.new_width > 0):
            raise BadInput(
                "new_height and new_width are given only together", file=where, field="image_data_param",
                value=f"{resized.new_height}×{resized.new_width}", remedy="Give both, or none",
            )  # fmt: skip
        if layer.type in TRANSFORMED and layer.transform_param.HasField("mean_file"):
            mean_of(layer, where)
        if layer.type == "Data" and layer.data_param.backend != pb.DataParameter.LMDB:
            raise BadInput(
                "the default backend, but this build of Caffe reads LMDB only"
                if not layer.data_param.HasField("backend")
                else "this build of Caffe reads LMDB only",
                file=where,
                field="data_param.backend",
                value="LEVELDB",
                remedy="Write `backend: LMDB` and give an LMDB",
            )


def read_sources(nets: Iterable[NetFile], progress: Progress) -> Sources:
    """Read the LMDBs and lists of all data layers."""
    records: dict[str, Records] = {}
    rows: dict[str, HDF5Files] = {}
    windows: dict[str, WindowFile] = {}
    images: dict[tuple[str, str], Images] = {}
    for net in nets:
        for layer in data_layers(net):
            source = data_param_of(layer).source
            listed, root = layer.type == "ImageData", layer.image_data_param.root_folder
            if source not in records:
                records[source] = (
                    open_list(Path(source)) if listed else open_records(Path(source), progress, scan_apart)
                )
            if listed and (source, root) not in images:
                where = f"{net.source}: layer {layer.name}"
                check_images(records[source], root, where)
                found = survey_list(records[source], root, where)
                images |= {(source, root): found} if found is not None else {}
        for _, layer in numbered_layers(net, ROWS):
            source, where = layer.hdf5_data_param.source, f"{net.source}: layer {layer.name}"
            if source not in rows:
                rows[source] = open_hdf5_list(Path(source), where)
            check_tops(rows[source], layer.top, where)
        for _, layer in numbered_layers(net, WINDOWS):
            source, where = layer.window_data_param.source, f"{net.source}: layer {layer.name}"
            if source not in windows:
                windows[source] = open_window_file(Path(source), where)
            check_windows(windows[source], layer.window_data_param, where)
            check_windowed_images(windows[source], layer.window_data_param.root_folder, where)
    return Sources(records, rows, windows, images)
