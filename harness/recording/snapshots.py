"""Snapshots in a run directory, each described by the JSON beside it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from harness.errors import BadInput
from harness.recording.metadata import read_metadata, write_metadata
from harness.schemas.run_info import SNAPSHOT_INFO_VERSION, SnapshotHealth, SnapshotInfo

UNFINISHED = ".writing"


def prefix(run: Path, name: str) -> str:
    """Return the snapshot_prefix under which Caffe writes into the run directory `run`."""
    return str(run / "snapshots" / UNFINISHED / name)


def final_name(text: str) -> str:
    """Replace the names of unfinished snapshots in `text` by the final ones."""
    return text.replace(f"/snapshots/{UNFINISHED}/", "/snapshots/")


def read_snapshot(path: Path) -> SnapshotInfo:
    """Read the JSON beside a snapshot.

    Raises:
        BadInput: it cannot be read, is damaged or another file, or was written by a newer harness.
    """
    remedy = "Restart from another snapshot, or move this file away to use the snapshot as one of Caffe's own"
    return read_metadata(path, SnapshotInfo, SNAPSHOT_INFO_VERSION, remedy)


def iterations_of(directory: Path) -> dict[int, Path]:
    """Find the snapshots in `directory`: by iteration, the JSON beside each. See `damaged_in` for the others."""
    found = {}
    for path in directory.glob("*.json"):
        with suppress(BadInput):
            found[read_snapshot(path).iteration] = path
    return found


def damaged_in(directory: Path) -> tuple[str, ...]:
    """Name the snapshots in `directory` that `iterations_of` leaves out, each in a sentence with the reason."""
    found = []
    for path in sorted(directory.glob("*.json")):
        try:
            read_snapshot(path)
        except BadInput as error:
            found.append(f"Left out: {path}: {error.problem}. The other snapshots can be used")
    return tuple(found)


def note_health(path: Path, health: SnapshotHealth) -> None:
    """Add to the JSON beside a snapshot, `path`, what is known of the run's health."""
    write_metadata(path, msgspec.structs.replace(read_snapshot(path), health=health))


def remove(path: Path) -> None:
    """Remove a snapshot by the JSON beside it, which goes first: its presence means that the other files are whole."""
    info = read_snapshot(path)
    for name in (path.name, info.solverstate, info.caffemodel):
        path.with_name(name).unlink(missing_ok=True)
