"""Snapshots in a run directory, each described by the JSON beside it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.atomic_write import write_whole
from harness.errors import BadInput

UNFINISHED = ".writing"


def prefix(run: Path, name: str) -> str:
    """The snapshot_prefix under which Caffe writes into the run directory `run`."""
    return str(run / "snapshots" / UNFINISHED / name)


def final_name(text: str) -> str:
    """`text` with the names under which snapshots appear in the end."""
    return text.replace(f"/snapshots/{UNFINISHED}/", "/snapshots/")


_KEYS = {"iteration", "caffemodel", "solverstate", "point", "solver", "net", "test_nets", "random_seed", "blas_threads"}


def read_json(path: Path) -> dict[str, Any]:
    """What the JSON beside a snapshot says.

    Raises:
        BadInput: damaged, or another file.
    """
    remedy = "Restart from another snapshot, or move this file away to take the snapshot for one of Caffe's own"
    try:
        about = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot be read ({error})", file=path, remedy=remedy) from None
    if not isinstance(about, dict) or not about.keys() >= _KEYS:
        raise BadInput("not what the harness writes beside a snapshot", file=path, remedy=remedy)
    return about


def iterations_of(directory: Path) -> dict[int, Path]:
    """The snapshots in `directory` by iteration: the JSON beside each. Files that are none are passed over."""
    found = {}
    for path in directory.glob("*.json"):
        with suppress(BadInput):
            found[int(read_json(path)["iteration"])] = path
    return found


def note_health(about: Path, health: dict[str, Any]) -> None:
    """Write into the JSON beside a snapshot what is known of the run's health."""
    write_whole(about, json.dumps(json.loads(about.read_text()) | {"health": health}, indent=2) + "\n")


def remove(about: Path) -> None:
    """Remove a snapshot by the JSON beside it, which goes first: it says that the others are whole."""
    facts = json.loads(about.read_text())
    for name in (about.name, facts["solverstate"], facts["caffemodel"]):
        about.with_name(name).unlink(missing_ok=True)
