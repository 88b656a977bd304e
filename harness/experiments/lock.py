"""A lock on the results of a run, so that two commands do not replay the same arms at once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import BadInput
from harness.experiments.results import DIRECTORY, make_directory


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other processes out of RUN/experiments until the block, or this process, ends.

    Raises:
        BadInput: another process has the lock, or results cannot be stored there.
    """
    path = run / DIRECTORY / "lock"
    make_directory(path.parent)
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
                f"another command replays arms of this run{process and f' (process {process})'}",
                file=run,
                remedy="Wait until it has ended, or stop it: what it has finished is kept",
            ) from None
        except OSError:
            pass  # this file system has no locks
        os.pwrite(fd, f"{os.getpid():<20}".encode(), 0)
        yield
    finally:
        os.close(fd)
