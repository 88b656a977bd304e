"""Open the HDF5 file of a recording: finished, still being written, or left behind by a killed writer."""

from __future__ import annotations

import os
import time
from pathlib import Path

import h5py

from harness.caffe_files.paths import is_directory, is_file
from harness.errors import RecordingError
from harness.recording.journal import read_journal
from harness.recording.locks import read_lock, write_lock
from harness.recording.overlay import Overlay
from harness.recording.repair import needs_repair, repair
from harness.recording.structure import SPARED, check_structure
from harness.recording.superblock import cleared, is_marked_open

_TIMEOUT = 5.0  # seconds within which a writer has finished opening or closing its file


def open_file(path: Path, may_repair: bool) -> tuple[h5py.File, bool]:
    """Open the recording `path` for reading, after repairing it (if it `may_repair`) if its writer is dead.

    Returns:
        The file, and whether a writer holds the lock on its directory.

    Raises:
        RecordingError: no such file; not a recording, or not of a structure as recordings have (see `structure`);
            written by a newer version; truncated.
    """
    if is_directory(path.parent) and not os.access(path.parent, os.X_OK):
        raise RecordingError(f"{path.parent}: permission denied. Give yourself read access to it")
    if not is_file(path):
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
    # a link may lead out of the run directory, whose lock is held: nothing is written through it
    repairable = may_repair and _may_be_changed(path) and not path.is_symlink()
    while True:
        with read_lock(path.parent) as locked:
            if locked and not (repairable and needs_repair(path)):
                return _as_it_is(path), False
        if locked:
            with write_lock(path.parent, wait=True):
                with _as_it_is(path) as file:
                    check_structure(path, file)
                try:
                    repair(path)
                except OSError:  # a full disk, or a file that may not be changed after all
                    repairable = False
            continue
        try:
            return h5py.File(path, "r", libver="latest", swmr=True), True
        except (OSError, RuntimeError):  # its writer is just opening, closing or repairing it
            if time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _may_be_changed(path: Path) -> bool:
    """Check that this user may change a recording and the directories that a repair looks into."""
    directories = [path.parent, *(found for found in [path.parent / "snapshots"] if is_directory(found))]
    return os.access(path, os.W_OK) and all(os.access(found, os.R_OK | os.W_OK | os.X_OK) for found in directories)


def _as_it_is(path: Path) -> h5py.File:
    """Open a recording without a writer, also one that needs a repair."""
    journal = read_journal(path)
    if journal is not None:
        return h5py.File(Overlay(path, journal.pages, journal.size), "r", libver="latest")
    if is_marked_open(path):  # SWMR would open it, too, and try for minutes to read what is damaged
        overlay = Overlay(path)
        superblock, overlay.size = cleared(path)
        overlay.write(memoryview(superblock))
        return h5py.File(overlay, "r", libver="latest")
    return h5py.File(path, "r", libver="latest")
