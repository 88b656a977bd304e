"""The directory of a study, in which one command works at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.recording.locks import only_command

_LOCK = ".lock"  # with which the names of the locks of legs end as well


@contextmanager
def held(directory: Path, busy: str, run: Path) -> Iterator[None]:
    """Keep other commands out of a study directory in the block; it is removed at the end if it has nothing but locks.

    Args:
        busy: what to say of `run` where another command works there.

    Raises:
        BadInput: another command does, or the directory cannot be written.
    """
    with only_command(directory / _LOCK, busy, run):
        try:
            yield
        finally:
            with suppress(OSError):  # it is gone, or cannot be written any more
                _remove_if_unused(directory)


def _remove_if_unused(directory: Path) -> None:
    left = list(directory.iterdir())
    if all(path.name.endswith(_LOCK) for path in left):
        for path in left:
            path.unlink()
        directory.rmdir()
