"""Several listeners of one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.schemas.events import Event
from harness.schemas.layout import Alarm
from harness.schemas.listener import RunListener
from harness.schemas.outcome import Divergence, Opening, Outcome


class RunListeners:
    """Passes everything on to `first`, then to `last`, which shows it to the user.

    `first` may fail: the user is told, and the run continues without it.
    """

    def __init__(self, first: RunListener, last: RunListener) -> None:
        self._first: RunListener | None = first
        self._last = last

    @property
    def dropped(self) -> str | None:
        return self._last.dropped

    def start(self, opening: Opening) -> None:
        self._tell(lambda listener: listener.start(opening))

    def event(self, event: Event) -> None:
        self._tell(lambda listener: listener.event(event))

    def alarms(self, alarms: Sequence[Alarm], divergences: Sequence[Alarm], divergence: Divergence | None) -> None:
        self._tell(lambda listener: listener.alarms(alarms, divergences, divergence))

    def message(self, text: str) -> None:
        self._tell(lambda listener: listener.message(text))

    def tick(self, recorded_bytes: int) -> None:
        self._tell(lambda listener: listener.tick(recorded_bytes))

    def finish(self, outcome: Outcome) -> None:
        self._tell(lambda listener: listener.finish(outcome))

    def close(self) -> None:
        self._tell(lambda listener: listener.close())

    def _tell(self, call: Callable[[RunListener], None]) -> None:
        if self._first is not None:
            try:
                call(self._first)
            except Exception as error:
                failed, self._first = self._first, None
                why = f"{type(error).__name__}: {error}"
                self._last.message(f"{type(failed).__name__} has failed ({why}); the run continues without it")
        call(self._last)
