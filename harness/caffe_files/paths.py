"""Look for files whose names users have written. A name that the system cannot have (too long) names nothing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def exists(name: str | Path) -> bool:
    """Check whether there is a file or directory `name`."""
    with suppress(OSError):
        return Path(name).exists()
    return False


def is_file(name: str | Path) -> bool:
    """Check whether `name` is a file."""
    with suppress(OSError):
        return Path(name).is_file()
    return False


def is_directory(name: str | Path) -> bool:
    """Check whether `name` is a directory."""
    with suppress(OSError):
        return Path(name).is_dir()
    return False
