"""Open the HDF5 file of a recording: finished, still being written, or left behind by a killed writer."""

from __future__ import annotations

import os
import time
from pathlib import Path

import h5py

from harness.errors import RecordingError
from harness.recording.locks import read_lock, write_lock
from harness.recording.repair import repair
from harness.recording.structure import SPARED, check_structure
from harness.recording.superblock import is_marked_open

_TIMEOUT = 5.0  # seconds within which a writer has finished opening or closing its file


def open_file(path: Path, may_repair: bool) -> tuple[h5py.File, bool]:
    """Open the recording `path` for reading, after repairing it (if it `may_repair`) if its writer is dead.

    Returns:
        The file, and whether a writer holds the lock on its directory.

    Raises:
        RecordingError: no such file; not a recording, or not of a structure as recordings have (see `structure`);
            written by a newer version; truncated.
    """
    if not path.is_file():
        raise RecordingError(f"{path}: no such recording. Give a run directory or its recording.h5")
    try:
        file, live = _open(path, may_repair)
    except (OSError, RuntimeError) as error:
        size = path.stat().st_size
        raise RecordingError(
            f"{path}: truncated or damaged ({size} bytes: {error}). Copy it from a backup; {SPARED}"
        ) from error
    try:
        check_structure(path, file)
    except BaseException:
        file.close()
        raise
    return file, live


def _open(path: Path, may_repair: bool) -> tuple[h5py.File, bool]:
    deadline = time.monotonic() + _TIMEOUT
    while True:
        with read_lock(path.parent) as locked:
            marked_open = is_marked_open(path)
            # a link may lead out of the run directory, whose lock is held: nothing is written through it
            repairable = may_repair and marked_open and os.access(path, os.W_OK) and not path.is_symlink()
            if locked and not repairable:
                return h5py.File(path, "r", libver="latest", swmr=marked_open), False
        if locked:
            with write_lock(path.parent, wait=True):
                with h5py.File(path, "r", libver="latest", swmr=True, locking=False) as file:
                    check_structure(path, file)
                repair(path)
            continue
        try:
            return h5py.File(path, "r", libver="latest", swmr=True), True
        except (OSError, RuntimeError):  # its writer is just opening, closing or repairing it
            if time.monotonic() > deadline:
                raise
        time.sleep(0.01)
