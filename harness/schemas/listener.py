"""Interface of the objects that follow a run while it is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from harness.schemas.events import Event
from harness.schemas.layout import Alarm
from harness.schemas.outcome import Divergence, Opening, Outcome


class RunListener(Protocol):
    """Receives what happens in a run.

    The supervisor calls it from its only thread: nothing is recorded until a call returns.

    `dropped` says why the user is shown nothing any more; None while that is not so.
    """

    @property
    def dropped(self) -> str | None: ...

    def start(self, opening: Opening) -> None:
        """Receive the layout and the sizes of the recording, before the first iteration."""

    def event(self, event: Event) -> None:
        """Receive one event from the worker."""

    def alarms(self, alarms: Sequence[Alarm], divergences: Sequence[Alarm], divergence: Divergence | None) -> None:
        """Receive new alarms; `divergences` are those of them whose rule means that training diverged."""

    def message(self, text: str) -> None:
        """Receive a sentence for the user."""

    def tick(self, recorded_bytes: int) -> None:
        """Receive the size of the recording; called about twice a second."""

    def finish(self, outcome: Outcome) -> None:
        """Receive how the run ended."""

    def close(self) -> None:
        """Release all resources, however the run ended; may be called twice."""


class NoListener:
    """Receives what happens in a run, and does nothing."""

    dropped: str | None = None

    def start(self, opening: Opening) -> None: ...

    def event(self, event: Event) -> None: ...

    def alarms(self, alarms: Sequence[Alarm], divergences: Sequence[Alarm], divergence: Divergence | None) -> None: ...

    def message(self, text: str) -> None: ...

    def tick(self, recorded_bytes: int) -> None: ...

    def finish(self, outcome: Outcome) -> None: ...

    def close(self) -> None: ...
