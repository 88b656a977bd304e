"""Several listeners of one run."""

from __future__ import annotations

from collections.abc import Sequence

from harness.schemas.events import Event
from harness.schemas.layout import Alarm
from harness.schemas.listener import RunListener
from harness.schemas.outcome import Divergence, Opening, Outcome


class RunListeners:
    """A listener that passes everything on to `listeners`, in this order."""

    def __init__(self, *listeners: RunListener) -> None:
        self._listeners = listeners

    def start(self, opening: Opening) -> None:
        for listener in self._listeners:
            listener.start(opening)

    def event(self, event: Event) -> None:
        for listener in self._listeners:
            listener.event(event)

    def alarms(self, alarms: Sequence[Alarm], divergences: Sequence[Alarm], divergence: Divergence | None) -> None:
        for listener in self._listeners:
            listener.alarms(alarms, divergences, divergence)

    def message(self, text: str) -> None:
        for listener in self._listeners:
            listener.message(text)

    def tick(self, recorded_bytes: int) -> None:
        for listener in self._listeners:
            listener.tick(recorded_bytes)

    def finish(self, outcome: Outcome) -> None:
        for listener in self._listeners:
            listener.finish(outcome)

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
