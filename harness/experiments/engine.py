"""The interface of engines, which have arms replayed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from harness.schemas.arm import ArmResult
from harness.schemas.arm_task import Progress, Ready, Task
from harness.schemas.feed import Feed
from harness.worker.payload import Payload


@dataclass(frozen=True)
class Setting:
    """What all replay workers of a run are started with.

    Attributes:
        payload: with the state of the run before the first iteration from which arms may start.
        feed: a batch of each data layer.
        store: the open file of the batch store.
        directory: in which they work, from which relative paths count.
    """

    payload: Payload
    feed: Feed
    store: int
    directory: str


class Engine(Protocol):
    """Has arms replayed; tasks may be submitted at any time, also while results are taken.

    Attributes:
        ready: what the first worker said when it had its checkpoint; None before.
    """

    ready: Ready | None

    def submit(self, task: Task) -> None:
        """Add an arm to those that are to be replayed."""
        ...

    def events(self) -> Iterator[Progress | ArmResult]:
        """Yield a result for each arm that was submitted, as soon as there is one; ends when there are no more.

        Meanwhile, yield how far arms are.

        Raises:
            RecordingError: no worker can replay this run; the message says why.
        """
        ...

    def cancel(self) -> None:
        """End all work now: `events` ends; an arm that is not finished gets no result. Signal handlers may call it."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...
