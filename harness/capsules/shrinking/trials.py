"""Try whether run directories still break as a capsule does: replay each, and judge what it did."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.budget import Budget
from harness.errors import BadInput, RecordingError
from harness.exit_codes import Exit
from harness.replay import Replay, Replayed, replay
from harness.schemas.events import Event, Frames
from harness.schemas.layout import Alarm
from harness.schemas.outcome import Divergence, Opening, Outcome
from harness.supervisor.signals import Interrupts


class Stopped(Exception):
    """The search is to end with what it has found: the budget is spent, or somebody has interrupted it."""


@dataclass(frozen=True)
class Spent:
    """What a search has cost so far."""

    replays: int
    iterations: int
    seconds: float


class Trials:
    """Replays run directories in the directory `work`, until the budget is spent or `interrupts` ask for an end.

    Attributes:
        notify: called while something is replayed, and after it.
    """

    def __init__(self, work: Path, budget: Budget, interrupts: Interrupts) -> None:
        self.work = work
        self.notify: Callable[[], None] = lambda: None
        self._budget, self._interrupts = budget, interrupts
        self._begun = time.monotonic()
        self._counter = _Counter(lambda: self.notify())
        self._replays = 0
        self._directories = 0

    @property
    def spent(self) -> Spent:
        return Spent(self._replays, self._counter.iterations, time.monotonic() - self._begun)

    def new_directory(self, name: str) -> Path:
        """Return a path in `work` at which there is nothing."""
        self._directories += 1
        return self.work / f"{self._directories}-{name}"

    @property
    def interrupted(self) -> bool:
        """Whether somebody has asked for an end."""
        return self._interrupts.stop is not None

    def check(self) -> None:
        """End the search if it is to end.

        Raises:
            Stopped: it is.
            KeyboardInterrupt: it is to end at once.
        """
        if self._interrupts.at_once:
            raise KeyboardInterrupt
        if self.interrupted or self._budget.spent(self._begun, self._counter.iterations):
            raise Stopped

    def replay(self, request: Replay) -> Replayed | None:
        """Replay a stretch; None if Caffe refuses it, or dies.

        Raises:
            Stopped, KeyboardInterrupt: as `check`.
        """
        self.check()
        return self.last_replay(request)

    def last_replay(self, request: Replay) -> Replayed | None:
        """Replay as `replay`, whatever the budget is."""
        self._replays += 1
        try:
            found = replay(request, self.new_directory("replay"), self._counter, self._interrupts)
        except (BadInput, RecordingError):
            return None
        self.notify()
        if self._interrupts.at_once:
            raise KeyboardInterrupt
        if self.interrupted:
            raise Stopped
        if found.outcome.code != Exit.DONE:
            shutil.rmtree(found.directory, ignore_errors=True)
            return None
        return found


class _Counter:
    """Counts the iterations of replays, and shows nothing of them."""

    def __init__(self, notify: Callable[[], None]) -> None:
        self.iterations = 0
        self._notify = notify

    @property
    def dropped(self) -> str | None:
        return None

    def start(self, opening: Opening) -> None: ...

    def event(self, event: Event) -> None:
        if isinstance(event, Frames):
            self.iterations += len(event.rows)

    def alarms(self, alarms: Sequence[Alarm], divergences: Sequence[Alarm], divergence: Divergence | None) -> None: ...

    def message(self, text: str) -> None: ...

    def tick(self, recorded_bytes: int) -> None:
        self._notify()

    def finish(self, outcome: Outcome) -> None: ...

    def close(self) -> None: ...
