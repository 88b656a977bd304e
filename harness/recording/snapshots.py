"""Snapshots in a run directory, each described by the JSON beside it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import msgspec

from harness.atomic_write import parts_of, sync
from harness.caffe_files.caffemodel import HISTORIES
from harness.errors import BadInput
from harness.recording.metadata import content_digest, read_metadata, write_metadata
from harness.schemas.run_info import SNAPSHOT_INFO_VERSION, SnapshotHealth, SnapshotInfo

UNFINISHED = ".writing"
_UNFINISHED_IN_TEXT = re.compile(rf"/proc/self/fd/\d+(?=/snapshots/{re.escape(UNFINISHED)}/)")
_FLOAT = 4  # bytes of a number in a snapshot
_SPARE = 1 << 17  # bytes of a snapshot beside its numbers and its net
_REMOVED = ".removed"  # suffix of the JSON of a snapshot that is being removed


def prefix(run: Path, name: str) -> str:
    """Return the snapshot_prefix under which Caffe writes into the run directory `run`."""
    return str(run / "snapshots" / UNFINISHED / name)


def final_name(text: str, run: str) -> str:
    """Replace the names that the worker gives to unfinished snapshots in `text` by the final ones.

    Args:
        run: the name of the run directory for the user. The worker names it by a descriptor, where there is /proc.
    """
    return _UNFINISHED_IN_TEXT.sub(lambda _: run, text).replace(f"{run}/snapshots/{UNFINISHED}/", f"{run}/snapshots/")


def expected_size(numbers: int, solver_type: str, net: str) -> int:
    """Estimate the bytes of a snapshot, from the `numbers` in the param blobs of `net`."""
    return _FLOAT * numbers * (1 + HISTORIES[solver_type]) + len(net) + _SPARE


def read_snapshot(path: Path) -> SnapshotInfo:
    """Read the JSON beside a snapshot.

    Raises:
        BadInput: it cannot be read, is damaged or another file, or was written by a newer harness.
    """
    remedy = "Restart from another snapshot, or move this file away to use the snapshot as one of Caffe's own"
    return read_metadata(path, SnapshotInfo, SNAPSHOT_INFO_VERSION, remedy)


def write_snapshot(path: Path, info: SnapshotInfo) -> None:
    """Write the JSON beside a snapshot, with the digest of its fields."""
    write_metadata(path, msgspec.structs.replace(info, digest=content_digest(msgspec.to_builtins(info))))


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
    write_snapshot(path, msgspec.structs.replace(read_snapshot(path), health=health))


def publish(path: Path) -> Path:
    """Move a snapshot up from the folder for unfinished ones; `path` is its JSON there, whose presence completes it.

    Returns:
        The path of the JSON beside the snapshot.
    """
    info = read_snapshot(path)
    directory = path.parent.parent
    for name in (*_files(info), path.name):
        if (path.parent / name).exists():
            os.replace(path.parent / name, directory / name)
    sync(directory)
    sync(directory.parent)
    return directory / path.name


def remove(path: Path) -> None:
    """Remove a snapshot by the JSON beside it. After a kill in between, `finish_snapshots` removes the rest."""
    removed = path.parent / UNFINISHED / f"{path.name}{_REMOVED}"
    removed.parent.mkdir(exist_ok=True)
    os.replace(path, removed)
    _remove_files(removed, path.parent)


def _remove_files(removed: Path, directory: Path) -> None:
    for name in _files(read_snapshot(removed)):
        (directory / name).unlink(missing_ok=True)
    removed.unlink()


def _files(info: SnapshotInfo) -> list[str]:
    """Return the names of the other files of a snapshot, never of files in another directory."""
    return [Path(name).name for name in (info.caffemodel, info.solverstate, info.layer_state) if name]


def has_unfinished(directory: Path) -> bool:
    """Check whether there are files of unfinished snapshots in the directory of a run's snapshots.

    What a symbolic link leads to is not the run's: it is never moved or removed.
    """
    unfinished = directory / UNFINISHED
    linked = directory.is_symlink() or unfinished.is_symlink()
    return not linked and unfinished.is_dir() and any(map(_is_file_or_link, unfinished.iterdir()))


def finish_snapshots(directory: Path) -> list[Path]:
    """Complete what a killed process had begun in the directory of a run's snapshots.

    A snapshot whose JSON was written is complete: it is published. One whose removal had begun is removed, and so are
    the files of snapshots that are not complete.

    Returns:
        The JSON beside each snapshot that was published.
    """
    unfinished = directory / UNFINISHED
    if not has_unfinished(directory):
        return []
    published = []
    for path in sorted(unfinished.glob("*.json")):
        with suppress(BadInput):  # a JSON that is damaged completes nothing
            published.append(publish(path))
    for path in unfinished.glob(f"*{_REMOVED}"):
        with suppress(BadInput):
            _remove_files(path, directory)
    for path in unfinished.iterdir():
        if _is_file_or_link(path):
            path.unlink()
    return published


def parts_of_snapshots(directory: Path) -> list[Path]:
    """Find files beside snapshots that were being written when a process was killed."""
    return [] if directory.is_symlink() else parts_of(directory, "*.json")


def _is_file_or_link(path: Path) -> bool:
    return path.is_symlink() or path.is_file()
