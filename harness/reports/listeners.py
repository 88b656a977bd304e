"""Several displays of one run."""

from __future__ import annotations

from collections.abc import Sequence

from harness.schemas.events import Event
from harness.schemas.layout import Alarm
from harness.schemas.listener import Display
from harness.schemas.outcome import Divergence, Opening, Outcome


class Displays:
    """A display that tells everything to `displays`, one after the other."""

    def __init__(self, *displays: Display) -> None:
        self._displays = displays

    def start(self, opening: Opening) -> None:
        for display in self._displays:
            display.start(opening)

    def event(self, event: Event) -> None:
        for display in self._displays:
            display.event(event)

    def alarms(self, alarms: Sequence[Alarm], grave: Sequence[Alarm], divergence: Divergence | None) -> None:
        for display in self._displays:
            display.alarms(alarms, grave, divergence)

    def say(self, text: str) -> None:
        for display in self._displays:
            display.say(text)

    def tick(self, recorded_bytes: int) -> None:
        for display in self._displays:
            display.tick(recorded_bytes)

    def finish(self, outcome: Outcome) -> None:
        for display in self._displays:
            display.finish(outcome)

    def close(self) -> None:
        for display in self._displays:
            display.close()
