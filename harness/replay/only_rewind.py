"""Let one process at a time rewind a run, in its folder of windows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from harness.errors import BadInput, RecordingFailed
from harness.recording.locks import write_lock
from harness.recording.side_windows import DIRECTORY

TEMPORARY = ".rewind."  # prefix of the run directory of a replay, below windows/


@contextmanager
def only_rewind(run: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """Wait until no other process rewinds `run`, and remove what killed ones have left; yields the folder of windows.

    Args:
        say: receives a sentence if there is something to wait for.

    Raises:
        BadInput: the folder cannot be written.
    """
    directory = run / DIRECTORY
    with ExitStack() as stack:
        while not _is_locked(directory, stack, say):
            stack.close()
        for left in killed_rewinds(run):
            _remove(left)
        try:
            yield directory
        finally:
            with suppress(OSError):  # there are windows in it
                directory.rmdir()


def killed_rewinds(run: Path) -> list[Path]:
    """List what rewinds of `run` that were killed, or are still going on, have in the folder of windows."""
    return list((run / DIRECTORY).glob(f"{TEMPORARY}*"))


def _is_locked(directory: Path, stack: ExitStack, say: Callable[[str], None]) -> bool:
    """Make and lock the folder. Returns False if the rewind before has removed it meanwhile: nothing was in it."""
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        raise _unusable(directory, str(error.strerror)) from None
    if directory.is_symlink():
        raise _unusable(directory, "it is a link to another directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise _unusable(directory, "permission denied")
    try:
        try:
            lock = stack.enter_context(write_lock(directory))
        except RecordingFailed:
            say(f"Another rewind of {directory.parent.name} is in progress: waiting until it has ended")
            lock = stack.enter_context(write_lock(directory, wait=True))
        return os.path.samestat(os.fstat(lock), directory.stat())
    except FileNotFoundError:
        return False


def _remove(left: Path) -> None:
    """Remove the run directory of a replay whose process was killed, once its worker has noticed that."""
    if left.is_symlink():
        left.unlink()
        return
    with suppress(OSError), write_lock(left, wait=True):
        shutil.rmtree(left, ignore_errors=True)


def _unusable(directory: Path, why: str) -> BadInput:
    return BadInput(
        f"no window can be stored there ({why})", file=directory, remedy="Give yourself write access, or rewind a copy"
    )
