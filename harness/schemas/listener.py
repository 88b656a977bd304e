"""Whoever shows a run, as the process that records it tells him what happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from harness.schemas.events import Event
from harness.schemas.layout import Alarm
from harness.schemas.outcome import Divergence, Opening, Outcome


class Display(Protocol):
    """Called from the one thread of the harness process: while it is busy, nothing is recorded."""

    def start(self, opening: Opening) -> None: ...

    def event(self, event: Event) -> None: ...

    def alarms(self, alarms: Sequence[Alarm], grave: Sequence[Alarm], divergence: Divergence | None) -> None: ...

    def say(self, text: str) -> None: ...

    def tick(self, recorded_bytes: int) -> None: ...

    def finish(self, outcome: Outcome) -> None: ...

    def close(self) -> None:
        """Let go of what it holds, however the run ended; may be called twice."""
