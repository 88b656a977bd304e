"""Find what a solver and its nets name outside of themselves: files to read and to write, and Python code to run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message

from harness.caffe_files.messages import parse_text, pb
from harness.schemas.run_info import TrainingSetup

# Fields of any message of caffe.proto, also of the formats before 2014, whose text is a path or the start of one
READ = ("source", "mean_file", "meanfile")
ROOTS = ("root_folder",)  # to which the paths in a list are appended
WRITTEN = ("file_name",)
OF_SOLVER = ("net", "train_net", "test_net", "weights")
PREFIX = "snapshot_prefix"
_PATHS = (*READ, *ROOTS, *WRITTEN, *OF_SOLVER, PREFIX)


@dataclass(frozen=True)
class Named:
    """A path that a prototxt names: `where` is "net: layer data", `field` the field of its message."""

    where: str
    field: str
    value: str


@dataclass(frozen=True)
class PythonLayer:
    """A layer that runs Python code of the machine that trains it: the class `layer` of `module`."""

    name: str
    module: str
    layer: str
    param_str: str

    def __str__(self) -> str:
        given = f" with param_str {self.param_str!r}" if self.param_str else ""
        return f"layer {self.name} runs {self.layer} of the Python module {self.module}{given}"


def messages_of(setup: TrainingSetup, path: Path) -> list[tuple[str, Message]]:
    """Parse the solver and the nets of `setup`, which was read from `path`; each with the name of its field.

    Raises:
        BadInput: one is no prototxt.
    """
    nets = [("net", setup.net), *((f"test_nets[{number}]", text) for number, text in enumerate(setup.test_nets))]
    return [
        ("solver", parse_text(setup.solver, pb.SolverParameter, path)),
        *((name, parse_text(text, pb.NetParameter, path)) for name, text in nets),
    ]


def paths_in(message: Message, where: str) -> Iterator[Named]:
    """Yield all paths that `message` names, and those of the messages in it."""
    for field, inner, place in _walk(message, where):
        if field in _PATHS and isinstance(inner, str | bytes):
            yield Named(place, field, inner if isinstance(inner, str) else inner.decode("latin-1"))


def layers_in(message: Message) -> Iterator[pb.LayerParameter]:
    """Yield all layers in `message`: of a net, or of the nets that a solver contains."""
    for _, inner, _ in _walk(message, ""):
        if isinstance(inner, pb.LayerParameter):
            yield inner


def old_layers_in(message: Message) -> bool:
    """Check whether a net in `message` has layers in a format from before 2014."""
    return any(isinstance(inner, pb.V1LayerParameter) for _, inner, _ in _walk(message, ""))


def python_layers(message: Message) -> list[PythonLayer]:
    """List the layers in `message` that run Python code."""
    found = []
    for layer in layers_in(message):
        if layer.type == "Python" or layer.HasField("python_param"):
            param = layer.python_param
            found.append(PythonLayer(layer.name, param.module, param.layer, param.param_str))
    return found


def _walk(message: Message, where: str) -> Iterator[tuple[str, object, str]]:
    """Yield every value in `message` with the name of its field and its place; not the numbers of blobs."""
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        for inner in values:
            place = where
            if isinstance(inner, pb.LayerParameter | pb.V1LayerParameter):
                place = f"{where}: layer {inner.name}"
            yield field.name, inner, place
            if isinstance(inner, Message) and not isinstance(inner, pb.BlobProto):
                yield from _walk(inner, place)
