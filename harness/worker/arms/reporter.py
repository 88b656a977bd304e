"""Report how far an arm is, a few times a second."""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.schemas.arm import Arm
from harness.schemas.arm_task import Progress

INTERVAL = 0.2  # seconds between two messages


class Reporter:
    """Tells `tell` the losses of an arm: that of its first iteration at once, others several at a time."""

    def __init__(self, arm: Arm, tell: Callable[[Progress], None]) -> None:
        self._key, self._first, self._tell = arm.key, arm.start, tell
        self._losses: list[float] = []
        self._told = -INTERVAL

    def __call__(self, loss: float) -> None:
        """Take the loss of the next iteration."""
        self._losses.append(loss)
        now = time.monotonic()
        if now - self._told >= INTERVAL:
            self._tell(Progress(self._key, self._first, tuple(self._losses)))
            self._first += len(self._losses)
            self._losses.clear()
            self._told = now
