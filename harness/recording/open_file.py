"""Open the HDF5 file of a recording: finished, still being written, or left behind by a killed writer."""

from __future__ import annotations

import os
import time
from pathlib import Path

import h5py

from harness.errors import RecordingError
from harness.recording.locks import read_lock, write_lock
from harness.recording.repair import repair
from harness.recording.superblock import is_marked_open
from harness.schemas.layout import FORMAT, FORMAT_VERSION

_TIMEOUT = 5.0  # seconds within which a writer has finished opening or closing its file


def open_file(path: Path) -> tuple[h5py.File, bool]:
    """Open the recording `path` for reading, after repairing it if its writer is dead.

    Returns:
        The file, and whether a writer holds the lock on its directory.

    Raises:
        RecordingError: no such file; not a recording; written by a newer version; truncated.
    """
    if not path.is_file():
        raise RecordingError(f"{path}: no such recording. Give a run directory or its recording.h5")
    try:
        file, live = _open(path)
    except (OSError, RuntimeError) as error:
        size = path.stat().st_size
        raise RecordingError(f"{path}: truncated or damaged ({size} bytes: {error})") from error
    try:
        _check_format(path, file)
    except BaseException:
        file.close()
        raise
    return file, live


def _open(path: Path) -> tuple[h5py.File, bool]:
    deadline = time.monotonic() + _TIMEOUT
    while True:
        with read_lock(path.parent) as locked:
            marked_open = is_marked_open(path)
            repairable = marked_open and os.access(path, os.W_OK)
            if locked and not repairable:
                return h5py.File(path, "r", libver="latest", swmr=marked_open), False
        if locked:
            with write_lock(path.parent, wait=True):
                repair(path)
            continue
        try:
            return h5py.File(path, "r", libver="latest", swmr=True), True
        except (OSError, RuntimeError):  # its writer is just opening, closing or repairing it
            if time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _check_format(path: Path, file: h5py.File) -> None:
    found = file.attrs.get("format")
    if found != FORMAT:
        raise RecordingError(f"{path}: an HDF5 file, but not a recording (format = {found!r})")
    version = int(file.attrs.get("format_version", 0))
    if version > FORMAT_VERSION:
        raise RecordingError(
            f"{path}: recorded in format {version}, and this harness reads up to format {FORMAT_VERSION}. "
            "Update the harness"
        )
