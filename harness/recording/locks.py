"""Locks: on a run directory, for one writer or any number of readers; and for one command at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import BadInput, RecordingFailed


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


@contextmanager
def only_command(path: Path, busy: str, run: Path) -> Iterator[None]:
    """Keep other commands out of what the file `path` stands for until the block, or this process, ends.

    The file is made if there is none, and has the number of the process that was the last to hold the lock.

    Args:
        busy: what to say of `run` where another process holds it, as in "another command rescues this run".

    Raises:
        BadInput: another process holds it, or the file cannot be written.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        remedy = "Give yourself write access, or work on a copy of the run"
        raise BadInput(f"cannot be written ({error.strerror})", file=path, remedy=remedy) from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = os.pread(fd, 20, 0).decode(errors="replace").strip()
            raise BadInput(
                f"{busy}{process and f' (process {process})'}",
                file=run,
                remedy="Wait until it has ended, or stop it: what it has finished is kept",
            ) from None
        except OSError:
            pass  # this file system has no locks
        os.pwrite(fd, f"{os.getpid():<20}".encode(), 0)
        yield
    finally:
        os.close(fd)
