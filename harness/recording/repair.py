"""Repair of what killed processes left behind in a run directory: an ordinary HDF5 file with complete rows only."""

from __future__ import annotations

from pathlib import Path

import h5py

from harness.atomic_write import parts_of
from harness.recording.hdf5_schema import datasets, row_datasets
from harness.recording.journal import edit, finish, journal_of
from harness.recording.side_windows import PART
from harness.recording.snapshots import finish_snapshots, has_unfinished, parts_of_snapshots
from harness.recording.superblock import is_marked_open


def needs_repair(path: Path) -> bool:
    """Check whether the writer of the recording `path` left something unfinished, if it is dead.

    Raises:
        RecordingError: not an HDF5 file as recordings are.
    """
    return (
        is_marked_open(path)
        or journal_of(path).exists()
        or has_unfinished(path.parent / "snapshots")
        or bool(_parts(path))
    )


def repair(path: Path) -> None:
    """Complete what the dead writer of the recording `path` had begun, and drop what cannot be completed.

    An edit of the recording, such as that of an earlier repair, is finished. A recording that was not closed keeps the
    rows that are complete in all datasets of their group. Snapshots that are complete are published, others removed.

    Call it while holding `write_lock`. Wherever it is killed, the next call does the rest.

    Raises:
        RecordingError: not an HDF5 file as recordings are, or truncated.
        OSError: the disk is full, or the directory cannot be written.
    """
    finish(path)
    if is_marked_open(path):
        edit(path, drop_incomplete_rows)
    finish_snapshots(path.parent / "snapshots")
    for part in _parts(path):
        part.unlink()


def _parts(path: Path) -> list[Path]:
    """Find files that the dead writer did not complete: beside the recording, among its snapshots and its windows."""
    run, journal = path.parent, journal_of(path).name
    windows = parts_of(run / "windows", PART)
    return [*parts_of(run, "run.json"), *parts_of(run, journal), *parts_of_snapshots(run / "snapshots"), *windows]


def drop_incomplete_rows(file: h5py.File, *, resuming: bool = False) -> None:
    """Truncate rows that were written in part: a killed writer leaves datasets of unequal length.

    Afterwards the file contains complete iterations only. If a writer is `resuming` after one, what the file contains
    of the next iteration stays.
    """
    _truncate(row_datasets(file))
    iterations = file["iteration"]
    last = int(iterations[-1]) if len(iterations) else -1
    _truncate(datasets(file["activation"]), None if resuming else last)
    for net in file["test"]:
        _truncate(datasets(file[f"test/{net}"]))
    if "window" in file:
        _truncate(datasets(file["window"]), last, spare=1 if resuming else 0)


def _truncate(group: list[h5py.Dataset], last: int | None = None, spare: int = 0) -> None:
    """Truncate datasets to equal length, without iterations after `last`.

    All but the group's `iteration` may keep `spare` rows more.
    """
    complete = min(dataset.shape[0] for dataset in group)
    if last is not None:
        iterations = next(dataset for dataset in group if dataset.name.endswith("/iteration"))
        complete = min(complete, int((iterations[()] <= last).sum()))
    for dataset in group:
        keep = complete + (0 if dataset.name.endswith("/iteration") else spare)
        if dataset.shape[0] > keep:
            dataset.resize(keep, axis=0)
