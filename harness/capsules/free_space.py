"""Check that a disk has room, before something is written that does not survive a full one."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.errors import RecordingFailed

_SPARE = 4 << 20  # bytes that stay free


def check_room(directory: Path, size: int) -> None:
    """Check that the disk of `directory` has room for `size` bytes.

    Raises:
        RecordingFailed: it has not.
    """
    free = shutil.disk_usage(directory).free
    if free < size + _SPARE:
        raise RecordingFailed(
            f"{directory}: the disk is full: {size / 2**20:,.1f} MiB are needed and {_SPARE >> 20} to spare, and "
            f"{free / 2**20:,.1f} are free. Free some space, or set TMPDIR to a directory on another disk"
        )
