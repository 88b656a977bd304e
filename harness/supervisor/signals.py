"""Handle the signals that a user or an operating system sends to the supervisor."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Counts the signals that ask for an end: SIGINT, SIGTERM and, unless `nohup` ignores it, SIGHUP."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def handled(self, snapshot: Callable[[], None]) -> Iterator[None]:
        """Handle signals inside the block; SIGUSR1 calls `snapshot`."""

        def interrupt(number: int, frame: FrameType | None) -> None:
            self.count += 1

        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        old = {number: signal.signal(number, interrupt) for number in numbers}
        old[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda number, frame: snapshot())
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
