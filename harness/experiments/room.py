"""The room of an experiment: the files that replay workers need besides the run directory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Room:
    """Files of one experiment, which are gone when it has ended.

    Attributes:
        home: a directory, for the state of the run where an exact replay has to go to it.
        store: the open file of the batch store, empty at first.
    """

    home: Path
    store: int


@contextmanager
def room_on_this_machine(directory: Path) -> Iterator[Room]:
    """Make room for workers on this machine: the store is a file without a name in `directory`, which they inherit."""
    with (
        tempfile.TemporaryDirectory(prefix="caffe-harness-") as home,
        tempfile.TemporaryFile(dir=directory) as store,
    ):
        yield Room(Path(home), store.fileno())
