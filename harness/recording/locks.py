"""Locks on a run directory: one writer, or any number of readers that open a finished file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import RecordingFailed


@contextmanager
def write_lock(directory: Path, *, wait: bool = False) -> Iterator[int]:
    """Hold the writer's lock on `directory` until the block ends and every process that inherited the lock has exited.

    The lock belongs to the open file descriptor that is yielded: a child process that inherits it keeps holding it.

    Raises:
        RecordingFailed: another process writes there.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            raise RecordingFailed(f"{directory}: another process is recording there") from None
        yield fd
    finally:
        os.close(fd)


def path_by(lock: int, named: Path) -> Path:
    """Return a path to the directory locked by the file descriptor `lock` that leads there even after it was moved.

    It holds in this process, and in those that inherit the descriptor. `named` is the path where there is no /proc.
    """
    path = Path(f"/proc/self/fd/{lock}")
    return path if path.is_dir() else named


@contextmanager
def read_lock(directory: Path) -> Iterator[bool]:
    """Keep writers out of `directory` until the block ends; yields False if there is a writer already."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            locked = True
        except BlockingIOError:
            locked = False
        yield locked
    finally:
        os.close(fd)
