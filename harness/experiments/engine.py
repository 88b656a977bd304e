"""The interface of engines, which have arms replayed, and of what makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.experiments.room import Room, room_on_this_machine
from harness.schemas.arm import ArmResult
from harness.schemas.arm_task import Progress, Ready, Task
from harness.schemas.feed import Feed
from harness.schemas.run_info import TrainingSetup
from harness.worker.payload import Payload


@dataclass(frozen=True)
class Setting:
    """What all replay workers of a run are started with.

    Attributes:
        payload: with the state of the run before the first iteration from which arms may start.
        feed: a batch of each data layer.
        store: the open file of the batch store.
        directory: in which they work, from which relative paths count.
        home: the directory of the room.
        control: returns an arm of a few unchanged iterations, whose digests the run recorded.
    """

    payload: Payload
    feed: Feed
    store: int
    directory: str
    home: Path
    control: Callable[[], Task]


@dataclass(frozen=True)
class Notice:
    """A sentence for the user."""

    text: str


class Engine(Protocol):
    """Has arms replayed; tasks may be submitted at any time, also while results are taken."""

    @property
    def ready(self) -> Ready | None:
        """What the first worker said when it had its checkpoint; None before.

        Where several machines replay, it is one whose replays have the recorded bits, if there is one.
        """
        ...

    def submit(self, task: Task) -> None:
        """Add an arm to those that are to be replayed."""
        ...

    def events(self) -> Iterator[Progress | Notice | ArmResult]:
        """Yield a result for each arm that was submitted, as soon as there is one; ends when there are no more.

        Meanwhile, yield how far arms are, and what the user is to be told.

        Raises:
            RecordingError: no worker can replay this run; the message says why.
        """
        ...

    def cancel(self) -> None:
        """End all work now: `events` ends; an arm that is not finished gets no result. Signal handlers may call it."""
        ...

    def rest(self) -> None:
        """Leave the machine to others until the next arm is submitted; all that were have a result."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...


@dataclass(frozen=True)
class Engines:
    """Makes engines: it says where arms are replayed.

    Attributes:
        start: makes the engine of a run.
        count: returns how many arms of a run are replayed at a time.
        room: makes room in the folder of results, for as long as the engine is used.
    """

    start: Callable[[Setting], Engine]
    count: Callable[[TrainingSetup], int]
    room: Callable[[Path], AbstractContextManager[Room]] = room_on_this_machine
