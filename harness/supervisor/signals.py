"""Handle the signals that a user or an operating system sends to the supervisor."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """What signals have asked for.

    SIGINT and SIGTERM ask for an end; SIGHUP does with `on_hangup` "stop". Any number of them is one request, but for a
    second SIGINT: a user has pressed Ctrl-C twice. A SIGHUP that `nohup` ignores stays ignored.

    Attributes:
        stop: the signal that asked for an end first; None if none has.
        at_once: the end shall not wait for the current iteration.
        hung_up: a SIGHUP has arrived, and the run continues.
        ended: called by the signal handler when an end is asked for.
    """

    def __init__(self, on_hangup: str) -> None:
        self.stop: signal.Signals | None = None
        self.at_once = False
        self.hung_up = False
        self.ended: Callable[[], None] = lambda: None
        self._interrupted = False
        self._stops = on_hangup == "stop"
        self._nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    @contextmanager
    def planning(self) -> Iterator[None]:
        """Ignore a SIGHUP inside the block, also in the processes that it starts, unless that shall stop the run."""
        old = signal.getsignal(signal.SIGHUP)
        if not self._stops:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, old)

    @contextmanager
    def handled(self, snapshot: Callable[[], None]) -> Iterator[None]:
        """Handle signals inside the block; SIGUSR1 calls `snapshot`."""
        handlers = {signal.SIGINT: self._end, signal.SIGTERM: self._end}
        if not self._nohup:
            handlers[signal.SIGHUP] = self._end if self._stops else self._hang_up
        handlers[signal.SIGUSR1] = lambda number, frame: snapshot()
        old = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, before in old.items():
                signal.signal(number, before)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.stop = self.stop or signal.Signals(number)
        if number == signal.SIGINT:
            self.at_once = self._interrupted
            self._interrupted = True
        self.ended()

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        self.hung_up = True
