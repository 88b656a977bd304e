"""A run directory: recording.h5, run.json, solver.log, snapshots/."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from harness.atomic_write import write_whole
from harness.errors import BadInput, RecordingFailed
from harness.recording.locks import write_lock
from harness.recording.writer import MIN_FREE_SPACE

_REMEDY = "Give another --out, or leave it out for a new directory under runs/"
_MAY_NOT = f"{_REMEDY}, of a directory where user {os.getuid()} may write (in a container: one that is mounted there)"


def create(path: Path) -> bool:
    """Make the run directory `path`; was it made just now?

    Raises:
        BadInput: it holds something already, or cannot be written.
    """
    made = not path.exists()
    try:
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
    """Be the run whose directory `path` is; yields the lock's file descriptor (see `writing`).

    Raises:
        BadInput: another run was quicker.
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
    """Empty the run directory `path` of a run that never began, and remove `itself` too if it was made for that run."""
    for entry in path.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    if itself:
        path.rmdir()


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Write run.json."""
    write_whole(path / "run.json", json.dumps(facts, indent=2) + "\n")


def read_facts(path: Path) -> dict[str, Any]:
    """What run.json says.

    Raises:
        BadInput: there is none, or it is damaged.
    """
    file = path / "run.json"
    try:
        facts = json.loads(file.read_text())
        if not isinstance(facts, dict):
            raise ValueError("no object")
        if not {"directory", "first", "solver", "net"} <= facts.keys():
            raise ValueError("it does not say what was run")
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", file=file, remedy="Give a run directory") from None
    except ValueError as error:
        raise BadInput(f"damaged ({error})", file=file, remedy="Give another run directory") from None
    return facts


def attributes(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts as attributes of a recording's root: numbers and text as they are, everything nested as JSON text."""
    plain = (str, int, float, bool)
    return {name: value if isinstance(value, plain) else json.dumps(value) for name, value in facts.items()}
