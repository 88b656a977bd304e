"""The user's cache directory, or a private one in the directory for temporary files."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_KEPT = 90 * 24 * 3600  # seconds since a file was used last


def cache_directory(name: str) -> Path | None:
    """Find or create the directory `name` in a cache that only this user writes; None where there can be none.

    A directory for temporary files belongs to everyone: what another user has created there under the name of our
    cache, also as a symbolic link, is not used.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "caffe-harness" / name
    with suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
    if os.access(home, os.W_OK | os.X_OK):
        return home
    shared = Path(tempfile.gettempdir()) / f"caffe-harness-{os.getuid()}"
    try:
        shared.mkdir(mode=0o700, exist_ok=True)
        if not _is_private(shared):
            return None
        (shared / name).mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return None
    return shared / name if _is_private(shared / name) else None


def mark_used(file: Path) -> None:
    """Give `file` of a cache the present time, so that `remove_unused` keeps it."""
    with suppress(OSError):  # another user's
        os.utime(file)


def remove_unused(directory: Path) -> None:
    """Delete the files of the cache `directory` that have not been used for 90 days."""
    before = time.time() - _KEPT
    for file in directory.iterdir():
        with suppress(OSError):  # another process has deleted it
            if file.stat().st_mtime < before:
                file.unlink()


def _is_private(directory: Path) -> bool:
    """Check that `directory` is one, belongs to this user, and that nobody else may write there."""
    found = directory.lstat()
    writable_by_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not writable_by_others
