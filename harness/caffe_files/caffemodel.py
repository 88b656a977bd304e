"""What a caffemodel or a solverstate holds, and whether it fits a net. Caffe aborts where it does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from harness.caffe_files.messages import pb, read_binary
from harness.errors import BadInput

Shapes = tuple[tuple[int, ...], ...]

# Blobs of history that each solver keeps for one learnable blob (src/caffe/solvers/*.cpp).
_HISTORIES = {"SGD": 1, "Nesterov": 1, "AdaGrad": 1, "RMSProp": 1, "AdaDelta": 2, "Adam": 2}


@dataclass(frozen=True)
class CopiedLayers:
    """What fine-tuning by layer name does with the layers of a caffemodel and of a net."""

    copied: tuple[str, ...]
    skipped: tuple[str, ...]  # in the caffemodel, not in the net
    new: tuple[str, ...]  # in the net with params, not in the caffemodel: left as initialised


@dataclass(frozen=True)
class SolverState:
    """What a solverstate says of itself. `history` are the shapes of its history blobs.

    `learned_net` is its caffemodel: the file beside it where there is one, else as the solverstate `names` it.
    """

    path: Path
    iteration: int
    step: int  # current_step, in the steps of the learning rate
    names: str
    history: Shapes

    @property
    def learned_net(self) -> Path:
        beside = self.path.with_name(Path(self.names).name)
        return beside if self.names and beside.is_file() else Path(self.names)

    @property
    def moved(self) -> bool:
        """Would Caffe look for the caffemodel in another place?"""
        named = Path(self.names)
        return not (named.is_file() and named.samefile(self.learned_net))


def read_caffemodel(path: Path) -> dict[str, Shapes]:
    """The shapes of the param blobs of every layer in a caffemodel (binary, or HDF5 when it ends in .h5).

    Raises:
        BadInput: missing, damaged, or not a caffemodel.
    """
    if path.name.endswith(".h5"):
        with _open_h5(path, "caffemodel") as file:
            if "data" not in file:
                raise BadInput("not a caffemodel: it has no group `data`", file=path, remedy="Give a .caffemodel.h5")
            # a blob that a layer shares is kept with its owner only (Net::ToHDF5), and Caffe does not miss it
            return {
                name: tuple(group[str(i)].shape for i in range(len(group)))
                for name, group in file["data"].items()
                if len(group) and all(str(i) in group for i in range(len(group)))
            }
    net = read_binary(path, pb.NetParameter, "caffemodel")
    layers: Sequence[pb.LayerParameter | pb.V1LayerParameter] = net.layer or net.layers
    if not any(layer.blobs for layer in layers):
        raise BadInput("not a caffemodel: it holds no layer with weights", file=path, remedy="Give a .caffemodel")
    return {layer.name: tuple(_shape(blob) for blob in layer.blobs) for layer in layers}


def read_solverstate(path: Path) -> SolverState:
    """The head of a solverstate (binary, or HDF5 when it ends in .h5).

    Raises:
        BadInput: missing, damaged, not a solverstate, or its caffemodel is gone.
    """
    remedy = "Give the .solverstate that Caffe wrote beside the .caffemodel"
    if path.name.endswith(".h5"):
        with _open_h5(path, "solverstate") as file:
            if not {"iter", "current_step", "learned_net", "history"} <= set(file):
                raise BadInput(
                    "not a solverstate: it has no iter, current_step, learned_net, history", file=path, remedy=remedy
                )
            history = file["history"]
            shapes = tuple(history[str(i)].shape for i in range(len(history)))
            name = file["learned_net"][()]
            step = int(np.ravel(file["current_step"])[0])
            learned = name.decode() if isinstance(name, bytes) else str(name)
            state = SolverState(path, int(np.ravel(file["iter"])[0]), step, learned, shapes)
    else:
        message = read_binary(path, pb.SolverState, "solverstate")
        if not message.HasField("iter"):
            other = pb.NetParameter()
            try:
                other.ParseFromString(path.read_bytes())
                model = any(layer.blobs for layer in other.layer) or any(layer.blobs for layer in other.layers)
            except Exception:  # protobuf's DecodeError: simply not a net either
                model = False
            raise BadInput(
                "a caffemodel, not a solverstate" if model else "not a solverstate: it has no iteration",
                file=path,
                remedy=f"{remedy}, or start from these weights with --weights" if model else remedy,
            )
        shapes = tuple(_shape(blob) for blob in message.history)
        state = SolverState(path, message.iter, message.current_step, message.learned_net, shapes)
    if not state.learned_net.is_file():
        raise BadInput(
            "the solverstate's caffemodel is not there",
            file=path,
            field="learned_net",
            value=state.names or "(none)",
            remedy=f"Caffe resolves it from the current directory ({Path.cwd()}): run from where it was written, or "
            "put the caffemodel beside the solverstate",
        )
    return state


def check_fit(model: Mapping[str, Shapes], net: Mapping[str, Shapes], path: Path) -> CopiedLayers:
    """How the caffemodel `model`, read from `path`, goes into a net with the layers `net` (Net::CopyTrainedLayersFrom).

    Both hold the shapes of the blobs of every layer, also of those that have none.

    Raises:
        BadInput: a layer has the same name and other shapes.
    """
    for name, source in model.items():
        target = net.get(name)
        if target is None:
            continue
        for index, (ours, theirs) in enumerate(zip(target, source, strict=False)):
            if not _same_shape(ours, theirs):
                raise BadInput(
                    f"blob {index} has shape {_times(theirs)} there and {_times(ours)} in the net",
                    file=path,
                    field="layer",
                    value=name,
                    remedy="Rename the layer in the net to train it anew, or make the shapes equal",
                )
        if len(source) != len(target):
            raise BadInput(
                f"{len(source)} blobs there and {len(target)} in the net",
                file=path,
                field="layer",
                value=name,
                remedy="Rename the layer in the net to train it anew",
            )
    trained = {name for name, shapes in model.items() if shapes}
    return CopiedLayers(
        copied=tuple(name for name in net if name in trained and net[name]),
        skipped=tuple(name for name in model if name in trained and name not in net),
        new=tuple(name for name in net if name not in trained and net[name]),
    )


def check_history(state: SolverState, kind: str, params: Sequence[tuple[int, ...]]) -> None:
    """The solverstate's history fits a solver of type `kind` over blobs of shapes `params`.

    Raises:
        BadInput: other number of blobs (another net, or another solver type), or other shapes.
    """
    expected = _HISTORIES[kind] * len(params)
    if len(state.history) != expected:
        likely = [k for k, n in _HISTORIES.items() if n * len(params) == len(state.history)]
        raise BadInput(
            f"{len(state.history)} history blobs, but a {kind} solver on this net has {expected}",
            file=state.path,
            remedy=f"It was written by another solver type ({' or '.join(likely)}): set `type`"
            if likely
            else "It belongs to another net: give this net's solverstate",
        )
    for index, (theirs, ours) in enumerate(zip(state.history, list(params) * _HISTORIES[kind], strict=True)):
        if not _same_shape(ours, theirs):
            raise BadInput(
                f"history blob {index} has shape {_times(theirs)}, and {_times(ours)} in the net",
                file=state.path,
                remedy="It belongs to another net: give this net's solverstate",
            )


def _open_h5(path: Path, what: str) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise BadInput(f"cannot read the {what} ({error})", file=path, remedy="Check the path") from None


def _shape(blob: pb.BlobProto) -> tuple[int, ...]:
    if blob.HasField("shape"):
        return tuple(blob.shape.dim)
    return (blob.num, blob.channels, blob.height, blob.width)


def _same_shape(ours: Iterable[int], theirs: Iterable[int]) -> bool:
    # blobs of Caffe before 2014 have four axes, the first ones 1 (Blob::ShapeEquals)
    a, b = tuple(ours), tuple(theirs)
    return a == b or (len(b) == 4 and len(a) <= 4 and (1,) * (4 - len(a)) + a == b)


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"
