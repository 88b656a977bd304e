"""Recognise what a user has given in place of what a command needs, and say what to do with it instead."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path

from harness.caffe_files.paths import is_directory, is_file
from harness.errors import BadInput
from harness.invocation import next_command, path_argument

_HEAD = 1 << 16  # bytes at the start of a file that are looked at
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_CAPSULE = slice(30, 42), b"capsule.json"  # the name of the first entry, behind its header
_GLOG = re.compile(rb"^[^#\n]{0,80}?[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w.]+:\d+\]", re.MULTILINE)
_DISPLAY = re.compile(rb"^[^#\n]{0,200}?\bIteration \d+.{0,60}?\b(loss|lr) ?= ", re.MULTILINE)
_NET = re.compile(rb"^\s*(layers?\s*\{|input\s*:)", re.MULTILINE)
_SOLVER = re.compile(
    rb"^\s*((base_lr|lr_policy|max_iter|net|train_net|solver_mode)\s*:|(train_)?net_param\s*\{)", re.MULTILINE
)
_MOST_NAMES = 5


class Kind(Enum):
    """What a file or directory is; the value says so to the user."""

    RUN = "a run directory"
    RUNS = "a directory of runs"
    SNAPSHOTS = "the snapshots of a run"
    RECORDING = "the recording of a run"
    INFO = "the run.json of a run"
    LOG = "a log"
    SOLVER = "a solver prototxt"
    NET = "a net prototxt"
    WEIGHTS = "a caffemodel"
    STATE = "a solverstate"
    LMDB = "an LMDB"
    CAPSULE = "a capsule"


def kind_of(path: Path) -> Kind | None:
    """Recognise a file or a directory by its name and its first bytes; None for anything else."""
    if is_directory(path):
        return _kind_of_directory(path)
    name = path.name.removesuffix(".h5")
    if not is_file(path):
        return None
    for suffix, kind in ((".caffemodel", Kind.WEIGHTS), (".solverstate", Kind.STATE)):
        if name.endswith(suffix):
            return kind
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    if head.startswith(_HDF5):
        return Kind.RECORDING if path.name == "recording.h5" else None
    if head.startswith(_ZIP):
        return Kind.CAPSULE if head[_CAPSULE[0]] == _CAPSULE[1] else None
    if path.name == "run.json":
        return Kind.INFO
    return None if b"\0" in head else _kind_of_text(head)


def _kind_of_directory(path: Path) -> Kind | None:
    if is_file(path / "run.json") or is_file(path / "recording.h5"):
        return Kind.RUN
    if is_file(path / "data.mdb"):
        return Kind.LMDB
    if path.name == "snapshots" and is_file(path.parent / "run.json"):
        return Kind.SNAPSHOTS
    return Kind.RUNS if any(_runs_in(path)) else None


def _kind_of_text(head: bytes) -> Kind | None:
    """Recognise a text: a log may hold a solver and a net, and a solver a net."""
    patterns = ((_GLOG, Kind.LOG), (_SOLVER, Kind.SOLVER), (_NET, Kind.NET), (_DISPLAY, Kind.LOG))
    return next((kind for pattern, kind in patterns if pattern.search(head)), None)


def run_given(path: Path) -> Path:
    """Return the run directory that the user means by `path`: itself, or that of its recording or run.json.

    Raises:
        BadInput: it is something else, if that can be recognised; the message names the command that takes it.
    """
    kind = kind_of(path)
    if kind in (Kind.RECORDING, Kind.INFO):
        return path.parent
    if kind in (None, Kind.RUN):
        return path
    run = _run_around(path)
    if run is not None:
        again = f"; from this snapshot: {next_command('restart')} {path_argument(run)} --from {_iteration(path)}"
        remedy = f"Give the directory of its run: {run}{again if kind == Kind.STATE else ''}"
    elif kind == Kind.RUNS:
        remedy = f"Name one of them: {_list(sorted(_runs_in(path)))}"
    else:
        remedy = {
            Kind.LOG: f"Read it with {next_command('readlog')} {path_argument(path)}",
            Kind.CAPSULE: f"Unpack it with {next_command('capsule')} open {path_argument(path)} --out RUN",
            Kind.SOLVER: f"Train it with {next_command('run')} --solver {path_argument(path)}",
            Kind.NET: f"Train it with {next_command('run')} --solver FILE, with the solver that names this net",
            Kind.STATE: f"Continue it with {next_command('run')} --solver FILE --resume {path_argument(path)}",
            Kind.WEIGHTS: f"Fine-tune it with {next_command('run')} --solver FILE --weights {path_argument(path)}",
        }.get(kind, "Give the directory that a run or a restart has made")
    raise _wrong(path, kind, "a run directory", remedy)


def check_solver(path: Path, option: str = "--solver") -> None:
    """Check that the file for --solver is not something else, as `run_given` does for a run."""
    kind = kind_of(path)
    if kind in (None, Kind.SOLVER):
        return
    if kind == Kind.NET:
        naming = _list(sorted(_solvers_of(path)))
        remedy = "Give the solver that names this net in its field `net`" + (f": {naming}" if naming else "")
    else:
        remedy = {
            Kind.RUN: f"To continue it: {next_command('restart')} {path_argument(path)}",
            Kind.LOG: f"To read it: {next_command('readlog')} {path_argument(path)}",
            Kind.STATE: f"It belongs to --resume: --solver FILE --resume {path_argument(path)}",
            Kind.WEIGHTS: f"It belongs to --weights: --solver FILE --weights {path_argument(path)}",
        }.get(kind, "Give the solver prototxt, as for caffe train")
    raise _wrong(path, kind, "a solver prototxt", remedy, option)


def check_weights(path: Path) -> None:
    """Check that a file for --weights is not something else, as `run_given` does for a run."""
    kind = kind_of(path)
    if kind in (None, Kind.WEIGHTS):
        return
    if kind == Kind.STATE:
        model = Path(str(path).replace(".solverstate", ".caffemodel"))
        remedy = f"To continue from it: --resume {path_argument(path)}"
        if is_file(model):
            remedy += f"; to begin a new training with its weights: --weights {path_argument(model)}"
    elif kind in (Kind.RUN, Kind.SNAPSHOTS):
        models = sorted((path / "snapshots" if kind == Kind.RUN else path).glob("*.caffemodel*"), key=_iteration)
        remedy = f"Name a caffemodel in it: {_list(models[::-1])}" if models else "There is no caffemodel in it"
    elif kind == Kind.SOLVER:
        remedy = "It belongs to --solver"
    else:
        remedy = "Give a caffemodel that Caffe wrote, as for caffe train --weights"
    raise _wrong(path, kind, "a caffemodel", remedy, "--weights")


def check_state(path: Path) -> None:
    """Check that the file for --resume is not something else, as `run_given` does for a run."""
    kind = kind_of(path)
    if kind in (None, Kind.STATE):
        return
    if kind == Kind.WEIGHTS:
        state = Path(str(path).replace(".caffemodel", ".solverstate"))
        beside = f" {path_argument(state)}" if is_file(state) else ""
        start = f"or start from these weights with --weights {path_argument(path)}"
        remedy = f"Give the .solverstate that Caffe wrote next to the .caffemodel{beside}, {start}"
    elif kind == Kind.RUN:
        remedy = f"To continue it: {next_command('restart')} {path_argument(path)}"
    elif kind == Kind.SNAPSHOTS:
        states = sorted(path.glob("*.solverstate*"), key=_iteration)
        remedy = f"Name a solverstate in it: {_list(states[::-1])}" if states else "There is no solverstate in it"
    elif kind == Kind.SOLVER:
        remedy = "It belongs to --solver"
    else:
        remedy = "Give a solverstate that Caffe wrote, as for caffe train --snapshot"
    raise _wrong(path, kind, "a solverstate", remedy, "--resume")


def check_log(path: Path) -> None:
    """Check that `path` is not something else than a log or a run directory, as `run_given` does for a run."""
    kind = kind_of(path)
    if kind in (None, Kind.LOG, Kind.RUN):
        return
    run = _run_around(path)
    if run is not None:
        remedy = f"Give the directory of its run: {run}"
    elif kind == Kind.RUNS:
        remedy = f"Name one of them: {_list(sorted(_runs_in(path)))}"
    elif kind in (Kind.SOLVER, Kind.NET):
        remedy = "Give what caffe train printed with it to standard error"
        remedy += f" (the solver belongs to --solver {path_argument(path)})" if kind == Kind.SOLVER else ""
    else:
        remedy = "Give what caffe train printed to standard error"
    raise _wrong(path, kind, "a log", remedy)


def _wrong(path: Path, kind: Kind | None, wanted: str, remedy: str, option: str | None = None) -> BadInput:
    assert kind is not None
    if option is None:
        return BadInput(f"{kind.value}, not {wanted}", file=path, remedy=remedy)
    return BadInput(f"{kind.value}, not {wanted}", field=option, value=path, remedy=remedy)


def _run_around(path: Path) -> Path | None:
    """Return the run directory that `path` lies in, if it is one of its files."""
    absolute = path.absolute()
    return next((place for place in list(absolute.parents)[:2] if is_file(place / "run.json")), None)


def _runs_in(path: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from (file.parent for file in path.glob("*/run.json"))


def _solvers_of(net: Path) -> Iterator[Path]:
    """Find the solvers beside a net that name it."""
    naming = re.compile(rb'^\s*(net|train_net)\s*:\s*["\'](.*/)?' + re.escape(net.name.encode()), re.MULTILINE)
    with suppress(OSError):
        for path in net.parent.glob("*.prototxt"):
            if path != net and is_file(path):
                with path.open("rb") as file:
                    head = file.read(_HEAD)
                if naming.search(head) and not _NET.search(head):
                    yield path


def _iteration(path: Path) -> int:
    found = re.search(r"_iter_(\d+)\.", path.name)
    return int(found[1]) if found else 0


def _list(paths: list[Path]) -> str:
    more = f" and {len(paths) - _MOST_NAMES} more" if len(paths) > _MOST_NAMES else ""
    return ", ".join(shlex.quote(str(path)) for path in paths[:_MOST_NAMES]) + more
