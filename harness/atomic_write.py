"""Write files that appear complete or not at all, and last through a power failure."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_RANDOM = 8  # characters that mkstemp adds to a name


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` so that a reader or a crash sees either the old content or the new, never a part."""
    fd, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            set_default_mode(file.fileno())
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    sync(path.parent)


def parts_of(directory: Path, names: str) -> list[Path]:
    """Find what killed processes left of files in `directory` while they wrote them; `names` is a pattern."""
    return [part for part in directory.glob(f".{names}.{'?' * _RANDOM}") if part.is_file()]


def set_default_mode(fd: int) -> None:
    """Give an open temporary file the permissions that the process's umask leaves to new files."""
    mask = os.umask(0)
    os.umask(mask)
    os.fchmod(fd, 0o666 & ~mask)


def sync(path: Path) -> None:
    """Write a file or a directory to the disk itself: of a directory, the names of its files."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
