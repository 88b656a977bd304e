"""Check the run directory in a capsule: it is complete, it fits together, and it names no file but its own."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from harness.caffe_files.caffemodel import read_caffemodel
from harness.caffe_files.image_list import parse_lines
from harness.caffe_files.layer_types import IMAGES, ROWS, WINDOWS
from harness.caffe_files.messages import pb
from harness.caffe_files.net import data_param_of
from harness.caffe_files.sources import with_mean
from harness.caffe_files.stored_numbers import model_blobs, weight_digest
from harness.caffe_files.window_file import read_window_file
from harness.capsules.file.json_checks import (
    Described,
    Names,
    check_described,
    check_trust,
    code_in,
    refused,
    snapshot_member,
)
from harness.capsules.file.manifest import REMEDY
from harness.capsules.file.named_files import layers_in, messages_of
from harness.errors import BadInput, RecordingError
from harness.recording import Recording
from harness.recording.result_files import read_explanation
from harness.recording.run_directory import read_info
from harness.recording.snapshots import read_snapshot
from harness.recording.structure import check_contained
from harness.schemas.capsule import RUN_INFO, SNAPSHOTS, Manifest
from harness.schemas.data_position import RowsPosition, StreamPosition
from harness.schemas.layout import ACTIVATION_STATS, INPUT_STATS, STATS, Param
from harness.schemas.run_info import RunInfo, SnapshotInfo
from harness.supervisor.resume import check_snapshot, from_run
from harness.training_data.records import RecordsUnknown
from harness.training_data.sources import files_of, records_of


def check_run(directory: Path, manifest: Manifest, path: Path, *, trust: bool) -> None:
    """Check the run directory `directory`, which has the members of `manifest`; errors name the capsule `path`.

    Args:
        trust: nets may have Python layers.

    Raises:
        BadInput: something in it is damaged or missing, does not fit the rest, or is refused.
    """
    with _errors_of(path, directory):
        described = Described(read_info(directory), read_snapshot(directory / snapshot_member(manifest)))
        check_described(described, manifest, path)
        check_trust(code_in(described, path), path, trust=trust)
        _check_lists(directory, described, path, Names(manifest))
        _check_data(directory, described, path)
        params = _check_recording(directory, described.info)
        _check_snapshot(directory, described, params)
        read_explanation(directory)


@contextmanager
def _errors_of(path: Path, directory: Path) -> Iterator[None]:
    """Have errors about files in `directory` name the capsule `path` and the member."""

    def named(text: object) -> str:
        return str(text).replace(f"{directory}/", "" if path == directory else f"{path}: ")

    try:
        yield
    except BadInput as error:
        if error.file is None or not error.file.startswith(f"{directory}/"):
            raise
        value = None if error.value is None else named(error.value)
        remedy = error.remedy if error.field == "format_version" else REMEDY
        raise BadInput(
            named(error.problem), file=named(error.file), field=error.field, value=value, remedy=remedy
        ) from None
    except RecordingError as error:
        problem = re.split(r"\. (?=[A-Z])", named(error), maxsplit=1)[0]  # no remedy for a run
        raise BadInput(problem, remedy=REMEDY) from None


def _check_lists(directory: Path, described: Described, path: Path, names: Names) -> None:
    """Check that the lists which data layers read name nothing but files of the capsule."""
    messages = (message for setup in described.setups for _, message in messages_of(setup, path))
    for layer in (layer for message in messages for layer in layers_in(message)):
        match layer.type:
            case "ImageData":
                source, root = layer.image_data_param.source, layer.image_data_param.root_folder
            case "HDF5Data":
                source, root = layer.hdf5_data_param.source, ""
            case "WindowData":
                source, root = layer.window_data_param.source, layer.window_data_param.root_folder
            case _:
                continue
        names.check_file(source, f"{path}: layer {layer.name}", "source")
        listed = _listed(layer.type, directory / source)
        for name in dict.fromkeys(listed):
            names.check_file(root + name, directory / source, "path")
            if layer.type == "HDF5Data":
                _check_contained(directory / name)


def _listed(kind: str, source: Path) -> list[str]:
    """Read the paths in the list `source` of a data layer of type `kind`."""
    if kind == "ImageData":
        return [os.fsdecode(key) for key, _ in parse_lines(source.read_bytes())]
    if kind == "HDF5Data":
        return [os.fsdecode(name) for name in source.read_bytes().split()]
    try:
        return list(read_window_file(source).images)
    except ValueError as error:
        raise BadInput(f"not a window file: {error}", file=source, remedy=REMEDY) from None


def _check_data(directory: Path, described: Described, path: Path) -> None:
    """Check that the data are those which run.json describes, and that its net has the layers that read them."""
    file = f"{path}: {RUN_INFO}"
    nets = [message for _, message in messages_of(described.info, path) if isinstance(message, pb.NetParameter)]
    for place in described.info.point.inputs:
        net = nets[place.net]
        if place.index is None or place.index >= len(net.layer) or net.layer[place.index].name != place.layer:
            raise refused("damaged: no layer of that name and number is in its net", file, "layer", place.layer)
        layer = net.layer[place.index]
        if layer.type not in IMAGES + WINDOWS + ROWS or data_param_of(layer).source != place.source:
            raise refused("damaged: its layer reads something else", file, "source", place.source)
        if place.excluded:
            problem = "damaged: a capsule has none but the records that are read, and leaves out none of them"
            raise refused(problem, file, "excluded", place.excluded)
        try:
            if isinstance(place, RowsPosition):
                files_of(directory, layer, place)
            elif layer.type in WINDOWS:
                _check_window_file(directory, layer, place)
            else:
                records_of(directory, layer, place)
        except RecordsUnknown:
            problem = f"damaged, or of another capsule: these are not the records that {RUN_INFO} describes"
            raise BadInput(problem, file=directory / place.source, remedy=REMEDY) from None


def _check_window_file(directory: Path, layer: pb.LayerParameter, place: StreamPosition) -> None:
    mean = layer.transform_param.mean_file
    found = read_window_file(directory / place.source).fingerprint
    if with_mean(found, directory / mean if mean else None) != place.fingerprint:
        raise RecordsUnknown


def _check_contained(path: Path) -> None:
    try:
        with h5py.File(path, "r") as file:
            check_contained(path, file)
    except (OSError, RuntimeError) as error:
        raise BadInput(f"not an HDF5 file, or a damaged one ({error})", file=path, remedy=REMEDY) from None


def _check_snapshot(directory: Path, described: Described, params: tuple[Param, ...]) -> None:
    """Check that the files of the snapshot are there, and those that its JSON describes."""
    info, snapshot = described.info, described.snapshot
    model = directory / SNAPSHOTS / snapshot.caffemodel
    state = directory / SNAPSHOTS / snapshot.solverstate
    for path in (model, state):
        if not path.is_file():
            raise BadInput("not in the capsule, and the JSON of its snapshot names it", file=path, remedy=REMEDY)
        if path.name.endswith(".h5"):
            _check_contained(path)
    read_caffemodel(model)
    _check_weights(model, snapshot, params)
    start = from_run(directory, info, info.first)
    if start.state is not None and start.state.learned_net != model:
        raise refused("it belongs to another caffemodel", state, "learned_net", start.state.stored)
    check_snapshot(start)
    if start.layer_state is not None:
        _check_arrays(start.layer_state)


def _check_weights(model: Path, snapshot: SnapshotInfo, params: tuple[Param, ...]) -> None:
    """Check the weights in a binary caffemodel; those in HDF5 are checked when Caffe has read them."""
    if model.name.endswith(".h5"):
        return
    with model_blobs(model, "r") as blobs:
        try:
            found = weight_digest(blobs, params, snapshot.digest_kind)
        except KeyError as error:
            raise refused("damaged: it lacks a param blob that was recorded", model, "layer", error) from None
    if found != snapshot.weight_digest:
        problem = f"damaged, or of another snapshot: its JSON has the digest {snapshot.weight_digest}"
        raise refused(problem, model, "weight_digest", found)


def _check_arrays(path: Path) -> None:
    """Check that a NumPy archive holds float32 arrays as large as they claim to be; they are read later."""
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise ValueError(f"{entry.filename} is compressed")
                with archive.open(entry) as file:
                    version = np.lib.format.read_magic(file)
                    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else None
                    if read is None:
                        raise ValueError(f"{entry.filename} is in format {version} of NumPy")
                    shape, _, dtype = read(file)
                    claimed = int(np.prod(shape, dtype=object)) * dtype.itemsize
                    if dtype != np.float32 or claimed != entry.file_size - file.tell():
                        raise ValueError(f"{entry.filename} is not the float32 array that it claims to be")
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise BadInput(f"damaged ({error})", file=path, remedy=REMEDY) from None


def _check_recording(directory: Path, info: RunInfo) -> tuple[Param, ...]:
    """Check that all of a recording can be read, and that it holds the capsule's iterations. Returns its params."""
    with Recording(directory, may_repair=False) as recording:
        if recording.goes_on_from is not None:
            problem = "refused: the run in a capsule continues no other"
            raise refused(problem, recording.path, "goes_on_from", recording.goes_on_from)
        recorded, params = recording.iterations, recording.params
        _read_all(recording)
    complete = len(recorded) and recorded[0] <= info.first and recorded[-1] == info.until - 1
    if not complete or (np.diff(recorded) != 1).any():
        raise BadInput(
            f"it does not hold the iterations {info.first} … {info.until - 1}, which the capsule repeats, at its end",
            file=directory / "recording.h5",
            remedy=REMEDY,
        )
    return params


def _read_all(recording: Recording) -> None:
    """Read everything that a recording without windows has.

    Raises:
        RecordingError: something is damaged, or not as its checksum says.
    """
    _ = recording.attributes, recording.heads, recording.relus, recording.alarms
    for name in ("lr", "loss", "smoothed_loss", "seconds", "digest"):
        recording.series(name)
    for name in recording.outputs:
        recording.output(name)
    for name in STATS:
        recording.stat(name)
    for name in INPUT_STATS if recording.inputs else ():
        recording.input_stat(name)
    for name in ACTIVATION_STATS:
        recording.activation(name)
    for net in range(recording.test_nets):
        for name in recording.test_outputs(net):
            recording.test(name, net)
