"""Repair of a recording whose writer was killed: make it an ordinary HDF5 file with complete rows only."""

from __future__ import annotations

from pathlib import Path

import h5py

from harness.recording.hdf5_schema import datasets
from harness.recording.superblock import clear_status_flags, is_marked_open
from harness.schemas.layout import ROWS


def repair(path: Path) -> None:
    """Clear the status flags of a dead writer, and truncate every dataset to the rows that are complete in its group.

    Call it while holding `write_lock`. A file that was closed stays as it is.

    Raises:
        RecordingError: not an HDF5 file as recordings are, or truncated.
    """
    if is_marked_open(path):
        clear_status_flags(path)
        with h5py.File(path, "r+", libver="latest", locking=False) as file:
            drop_incomplete_rows(file)


def drop_incomplete_rows(file: h5py.File, *, resuming: bool = False) -> None:
    """Truncate rows that were written in part: a killed writer leaves datasets of unequal length.

    Afterwards the file contains complete iterations only. If a writer is `resuming` after one, what the file contains
    of the next iteration stays.
    """
    _truncate([d for name in ROWS for d in datasets(file[name])])
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
