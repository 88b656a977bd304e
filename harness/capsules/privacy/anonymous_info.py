"""Remove from a run what identifies the machine, the user and the data set: pure functions of what its files say.

Names of layers and blobs stay, since weights, recordings and reports refer to them; so does what the images show.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
from google.protobuf import text_format
from google.protobuf.message import Message

from harness.caffe_files.messages import parse_text, pb
from harness.schemas.run_info import Ended, RunInfo, SnapshotInfo

NO_TIME = "1970-01-01T00:00:00+0000"
_CODE = "python_param"  # what it says is needed to run the layer


def anonymous_info(info: RunInfo) -> RunInfo:
    """Return the contents of run.json without paths, names and times of the machine.

    The sources of its data layers are names inside of the capsule already.
    """
    return msgspec.structs.replace(
        info,
        solver=anonymous_solver(info.solver),
        net=anonymous_net(info.net),
        test_nets=tuple(map(anonymous_net, info.test_nets)),
        caffe=anonymous_build(info.caffe),
        command=(),
        directory="",
        started=NO_TIME,
        machine="",
        solver_file="solver.prototxt",
        weights=(),
        resume=None,
        parent=None,
        goes_on_from=None,
        not_exact=(),
        exact_if=(),
        skip_records=(),
        native_start=None,
        copied=(),
        display=None,
        verified=None,
        ended=None if info.ended is None else _anonymous_end(info.ended),
    )


def anonymous_snapshot(info: SnapshotInfo) -> SnapshotInfo:
    """Return the JSON beside a snapshot likewise; the names of its files in a capsule say nothing."""
    return msgspec.structs.replace(
        info,
        solver=anonymous_solver(info.solver),
        net=anonymous_net(info.net),
        test_nets=tuple(map(anonymous_net, info.test_nets)),
        caffe=anonymous_build(info.caffe),
    )


def anonymous_solver(text: str) -> str:
    """Return a solver without the files that it names."""
    solver = parse_text(text, pb.SolverParameter, Path("solver"))
    solver.ClearField("net")
    solver.ClearField("train_net")
    solver.ClearField("test_net")
    solver.ClearField("weights")
    solver.ClearField("snapshot_prefix")
    return text_format.MessageToString(solver)


def anonymous_net(text: str) -> str:
    """Return a net without its name, and without the files that its layers name, but those of the capsule's data."""
    net = parse_text(text, pb.NetParameter, Path("net"))
    net.ClearField("name")
    for layer in net.layer:
        for field, value in layer.ListFields():
            if isinstance(value, Message) and field.name != _CODE:
                _clear_paths(value)
    return text_format.MessageToString(net)


def anonymous_build(caffe: Mapping[str, object]) -> dict[str, object]:
    """Return what build.json says without the places where Caffe was built and installed."""
    found = {name: value for name, value in caffe.items() if name != "path"}
    if found.get("checkout") is not None:
        found["checkout"] = ""
    options = found.get("cmake_options")
    if isinstance(options, list):
        found["cmake_options"] = [option for option in options if "/" not in str(option)]
    return found


def _anonymous_end(ended: Ended) -> Ended:
    """Return how the run ended without Caffe's last words and times, which may name files."""
    return msgspec.structs.replace(ended, how="How the run ended is left out", at=None, last_words=())


def _clear_paths(message: Message) -> None:
    """Clear the texts in `message` that are paths to another place than the capsule's data."""
    for field, value in message.ListFields():
        if isinstance(value, Message):
            _clear_paths(value)
        elif isinstance(value, str) and "/" in value and not value.startswith("data/"):
            message.ClearField(field.name)
