"""Read the shapes in a caffemodel or a solverstate and check that they fit a net, where Caffe would abort."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from google.protobuf.message import DecodeError

from harness.caffe_files.formatting import format_shape
from harness.caffe_files.messages import decode, pb, read_binary
from harness.caffe_files.paths import is_file
from harness.errors import BadInput

Shapes = tuple[tuple[int, ...], ...]

# History blobs that each solver type keeps for one learnable blob (src/caffe/solvers/*.cpp).
HISTORIES = {"SGD": 1, "Nesterov": 1, "AdaGrad": 1, "RMSProp": 1, "AdaDelta": 2, "Adam": 2}
# What h5py raises of damaged files
_OF_H5PY = (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)
_GIVE_STATE = "Give the .solverstate that Caffe wrote next to the .caffemodel"
_ANOTHER_NET = "It belongs to another net: give this net's solverstate"


@dataclass(frozen=True)
class CopiedLayers:
    """Layers of a caffemodel and of a net by what fine-tuning does with them: it copies by layer name."""

    copied: tuple[str, ...]
    skipped: tuple[str, ...]  # in the caffemodel, not in the net
    new: tuple[str, ...]  # in the net with params, not in the caffemodel: left as initialised


@dataclass(frozen=True)
class SolverState:
    """The contents of a solverstate except for the numbers: `history` has the shapes of its history blobs.

    `learned_net` is the path of its caffemodel: next to the solverstate if the file exists there, else as `stored`.
    """

    path: Path
    iteration: int
    step: int  # current_step: learning rate steps so far
    stored: str  # the learned_net field
    history: Shapes

    @property
    def learned_net(self) -> Path:
        beside = self.path.with_name(Path(self.stored).name)
        return beside if self.stored and is_file(beside) else Path(self.stored)

    @property
    def moved(self) -> bool:
        """True if Caffe would look for the caffemodel elsewhere than at `learned_net`."""
        stored = Path(self.stored)
        return not (is_file(stored) and stored.samefile(self.learned_net))


def read_caffemodel(path: Path) -> dict[str, Shapes]:
    """Read the shapes of the param blobs of every layer in a caffemodel (binary, or HDF5 if the name ends in .h5).

    Raises:
        BadInput: missing, damaged, or not a caffemodel.
    """
    if path.name.endswith(".h5"):
        try:
            return _read_h5_model(path)
        except _OF_H5PY as error:
            remedy = "Give a .caffemodel.h5 that Caffe wrote"
            raise BadInput(f"damaged, or not a caffemodel ({error})", file=path, remedy=remedy) from None
    net = read_binary(path, pb.NetParameter, "caffemodel")
    layers: Sequence[pb.LayerParameter | pb.V1LayerParameter] = net.layer or net.layers
    if not any(layer.blobs for layer in layers):
        raise BadInput("not a caffemodel: it holds no layer with weights", file=path, remedy="Give a .caffemodel")
    return {name_of(layer): tuple(_shape(blob) for blob in layer.blobs) for layer in layers}


def _read_h5_model(path: Path) -> dict[str, Shapes]:
    with _open_h5(path, "caffemodel") as file:
        if "data" not in file:
            raise BadInput("not a caffemodel: it has no group `data`", file=path, remedy="Give a .caffemodel.h5")
        # a shared blob is stored with its owner only (Net::ToHDF5); Caffe accepts layers without it
        return {
            name: tuple(group[str(i)].shape for i in range(len(group)))
            for name, group in file["data"].items()
            if len(group) and all(str(i) in group for i in range(len(group)))
        }


def name_of(layer: pb.LayerParameter | pb.V1LayerParameter) -> str:
    """Return the name of a layer that was read from a binary file; it may be in another encoding than UTF-8."""
    name: str | bytes = layer.name  # bytes where they are not UTF-8
    return name if isinstance(name, str) else decode(name)


def read_solverstate(path: Path) -> SolverState:
    """Read a solverstate (binary, or HDF5 if the name ends in .h5) without its numbers.

    Raises:
        BadInput: missing, damaged, not a solverstate, or its caffemodel does not exist.
    """
    try:
        state = _read_h5_state(path) if path.name.endswith(".h5") else _read_binary_state(path)
    except _OF_H5PY as error:
        raise BadInput(f"damaged, or not a solverstate ({error})", file=path, remedy=_GIVE_STATE) from None
    if not is_file(state.learned_net):
        raise BadInput(
            "the solverstate's caffemodel does not exist",
            file=path,
            field="learned_net",
            value=state.stored or "(none)",
            remedy=f"Caffe resolves it from the current directory ({Path.cwd()}): run from the directory where it was "
            "written, or put the caffemodel next to the solverstate",
        )
    return state


def _read_h5_state(path: Path) -> SolverState:
    with _open_h5(path, "solverstate") as file:
        if not {"iter", "current_step", "learned_net", "history"} <= set(file):
            raise BadInput(
                "not a solverstate: it has no iter, current_step, learned_net, history", file=path, remedy=_GIVE_STATE
            )
        history = file["history"]
        shapes = tuple(history[str(i)].shape for i in range(len(history)))
        # Caffe writes text of fixed length; HDF5 may look for another one forever
        if file["learned_net"].dtype.hasobject:
            raise ValueError("learned_net is not in its dataset")
        stored = file["learned_net"][()]
        return SolverState(
            path,
            iteration=int(np.ravel(file["iter"])[0]),
            step=int(np.ravel(file["current_step"])[0]),
            stored=os.fsdecode(stored),
            history=shapes,
        )


def _read_binary_state(path: Path) -> SolverState:
    state = read_binary(path, pb.SolverState, "solverstate")
    if not state.HasField("iter"):
        if _is_caffemodel(path):
            remedy = f"{_GIVE_STATE}, or start from these weights with --weights"
            raise BadInput("a caffemodel, not a solverstate", file=path, remedy=remedy)
        raise BadInput("not a solverstate: it has no iteration", file=path, remedy=_GIVE_STATE)
    shapes = tuple(_shape(blob) for blob in state.history)
    return SolverState(path, state.iter, state.current_step, os.fsdecode(state.learned_net), shapes)


def _is_caffemodel(path: Path) -> bool:
    try:
        net = pb.NetParameter.FromString(path.read_bytes())
    except DecodeError:
        return False
    return any(layer.blobs for layer in net.layer) or any(layer.blobs for layer in net.layers)


def check_fit(model: Mapping[str, Shapes], net: Mapping[str, Shapes], path: Path) -> CopiedLayers:
    """Check that the caffemodel `model`, read from `path`, can be copied into a net with the layers `net`.

    Both hold the shapes of the blobs of every layer, also of layers without blobs (Net::CopyTrainedLayersFrom).

    Raises:
        BadInput: a layer of the same name has other shapes.
    """
    for name, source in model.items():
        target = net.get(name)
        if target is None:
            continue
        for index, (ours, theirs) in enumerate(zip(target, source, strict=False)):
            if not _same_shape(ours, theirs):
                raise BadInput(
                    f"blob {index} has shape {format_shape(theirs)} in the caffemodel, {format_shape(ours)} in the net",
                    file=path,
                    field="layer",
                    value=name,
                    remedy="Rename the layer in the net to train it from scratch, or make the shapes equal",
                )
        if len(source) != len(target):
            raise BadInput(
                f"{len(source)} blobs in the caffemodel, {len(target)} in the net",
                file=path,
                field="layer",
                value=name,
                remedy="Rename the layer in the net to train it from scratch",
            )
    trained = {name for name, shapes in model.items() if shapes}
    return CopiedLayers(
        copied=tuple(name for name in net if name in trained and net[name]),
        skipped=tuple(name for name in model if name in trained and name not in net),
        new=tuple(name for name in net if name not in trained and net[name]),
    )


def check_history(state: SolverState, kind: str, params: Sequence[tuple[int, ...]]) -> None:
    """Check that the solverstate's history fits a solver of type `kind` over blobs of shapes `params`.

    Raises:
        BadInput: the number of blobs differs (another net, or another solver type), or a shape does.
    """
    expected = HISTORIES[kind] * len(params)
    if len(state.history) != expected:
        likely = [k for k, n in HISTORIES.items() if n * len(params) == len(state.history)]
        raise BadInput(
            f"{len(state.history)} history blobs, but a {kind} solver on this net has {expected}",
            file=state.path,
            remedy=f"It was written by another solver type ({' or '.join(likely)}): set `type`"
            if likely
            else _ANOTHER_NET,
        )
    for index, (theirs, ours) in enumerate(zip(state.history, list(params) * HISTORIES[kind], strict=True)):
        if not _same_shape(ours, theirs):
            raise BadInput(
                f"history blob {index} has shape {format_shape(theirs)}, but {format_shape(ours)} in the net",
                file=state.path,
                remedy=_ANOTHER_NET,
            )


def _open_h5(path: Path, what: str) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise BadInput(f"cannot read the {what} ({error})", file=path, remedy="Check the path") from None


def _shape(blob: pb.BlobProto) -> tuple[int, ...]:
    """Return the shape of a blob; one without axes has no field for it (Blob::ToProto, Blob::ShapeEquals)."""
    if any(blob.HasField(name) for name in ("num", "channels", "height", "width")):
        return (blob.num, blob.channels, blob.height, blob.width)
    return tuple(blob.shape.dim)


def _same_shape(ours: Iterable[int], theirs: Iterable[int]) -> bool:
    # before 2014, blobs had four axes, the leading ones of size 1 (Blob::ShapeEquals)
    a, b = tuple(ours), tuple(theirs)
    return a == b or (len(b) == 4 and len(a) <= 4 and (1,) * (4 - len(a)) + a == b)
