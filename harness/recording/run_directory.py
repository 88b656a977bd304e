"""Create, lock and describe a run directory: recording.h5, run.json, solver.log, snapshots/."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from harness.errors import BadInput, RecordingFailed
from harness.recording.locks import write_lock
from harness.recording.metadata import encode_metadata, read_metadata, write_metadata
from harness.recording.writer import MIN_FREE_SPACE
from harness.schemas.run_info import RUN_INFO_VERSION, RunInfo

_REMEDY = "Give another --out, or leave it out for a new directory"
_MAY_NOT = f"{_REMEDY}, of a directory where user {os.getuid()} may write (in a container: one that is mounted there)"


# the recording has a format version of its own, and has neither ended nor repeated anything when its attributes are
# written
_NOT_ATTRIBUTES = ("format_version", "verified", "ended")
# files that a run may have written before its first iteration
_OF_THE_RUN = (
    "recording.h5",
    "recording.h5.part",
    ".recording.h5.journal",
    "run.json",
    "solver.log",
    "on-alarm-exec.log",
    ".window_keys.npz",
)


def create(path: Path) -> bool:
    """Create the run directory `path`. Returns whether it did not exist before.

    Raises:
        BadInput: it holds something already, or cannot be written.
    """
    try:
        made = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        _check_empty(path)
    except OSError as error:
        remedy = _MAY_NOT if isinstance(error, PermissionError) else _REMEDY
        raise BadInput(f"cannot be made ({error.strerror})", field="--out", value=path, remedy=remedy) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise BadInput("cannot be written", field="--out", value=path, remedy=_MAY_NOT)
    free = shutil.disk_usage(path).free
    if free < MIN_FREE_SPACE:
        if made:
            path.rmdir()
        raise BadInput(f"the disk is full ({free / 2**20:.1f} MiB free)", field="--out", value=path, remedy=_REMEDY)
    return made


@contextmanager
def claim(path: Path) -> Iterator[int]:
    """Lock the run directory `path` for this run; yields the lock's file descriptor (see `write_lock`).

    Raises:
        BadInput: another run is recording there.
    """
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(write_lock(path))
        except RecordingFailed:
            raise BadInput("another run is recording there", field="--out", value=path, remedy=_REMEDY) from None
        _check_empty(path)
        yield lock


def _check_empty(path: Path) -> None:
    if any(path.iterdir()):
        raise BadInput("not empty, and a run never writes over another", field="--out", value=path, remedy=_REMEDY)


def remove(path: Path, itself: bool) -> None:
    """Remove what a run that never started has written into `path`; if the run created `path`, remove it as well.

    Files of others stay, and with them the directory.
    """
    for entry in path.iterdir():
        if entry.name in ("snapshots", "tensorboard"):
            shutil.rmtree(entry)
        elif entry.name in _OF_THE_RUN:
            entry.unlink()
    if itself:
        with suppress(OSError):  # not empty
            path.rmdir()


def write_info(path: Path, info: RunInfo) -> None:
    """Write run.json of the run directory `path`."""
    write_metadata(path / "run.json", info)


def encode_info(info: RunInfo) -> bytes:
    """Return the content of run.json, for an edit of the recording that replaces it as well (`Writer.close`)."""
    return encode_metadata(info)


def read_info(path: Path) -> RunInfo:
    """Read run.json of the run directory `path`, with `directory` as an absolute path.

    Raises:
        BadInput: there is none, it is damaged, or it was written by a newer harness.
    """
    info = read_metadata(path / "run.json", RunInfo, RUN_INFO_VERSION, "Give another run directory")
    if Path(info.directory).is_absolute():
        return info
    return msgspec.structs.replace(info, directory=str(path.absolute() / info.directory))


def named_run(named: str, child: Path) -> Path | None:
    """Find the directory of a run that its continuation `child` names: as named, or if both were moved, beside it or
    beside the study that it is in (RUN and RUN-rescue/NAME)."""
    path = Path(named)
    places = [path] if path.is_absolute() else [child / path, child.parent / path]
    places += [above / path.name for above in child.resolve().parents[:2]]
    return next((p for p in places if (p / "run.json").is_file() and p.resolve() != child.resolve()), None)


def is_run(named: str, run: Path) -> bool:
    """Check whether the run directory that another file names is `run`, or `run` is a copy of it, or was moved since.

    Raises:
        BadInput: a run.json cannot be read.
    """
    there = Path(named)
    if not (there / "run.json").is_file():
        return there.name == run.name
    if there.resolve() == run.resolve():
        return True
    one, other = read_info(there), read_info(run)
    if one.ended is not None and other.ended is not None and one.ended.weight_digest != other.ended.weight_digest:
        return False
    return _begun(one) == _begun(other)


def _begun(info: RunInfo) -> RunInfo:
    """Return what run.json says from the start of a run on, wherever it is."""
    return msgspec.structs.replace(info, directory="", verified=None, ended=None)


def attributes(info: RunInfo) -> dict[str, str | int | float | bool]:
    """Convert `info` to attributes of a recording's root: numbers and text as they are, all else as JSON text."""
    plain = (str, int, float, bool)
    return {
        name: value if isinstance(value, plain) else json.dumps(value)
        for name, value in msgspec.to_builtins(info).items()
        if name not in _NOT_ATTRIBUTES
    }
