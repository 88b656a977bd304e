"""Wait for what a worker does, without looking again and again: each look may stop one of Caffe's threads."""

from __future__ import annotations

import os
import selectors
import signal
import socket
from contextlib import suppress
from types import TracebackType


class Waiting:
    """Waits for the worker's `output`, for its `bell`, and for signals that this process handles.

    Both are file descriptors that do not block. The worker rings the bell (`Channel`) where the supervisor is to read
    the ring buffer before it would by itself.
    """

    def __init__(self, output: int, bell: int) -> None:
        self._output, self._bell = output, bell
        self._selector = selectors.DefaultSelector()
        self._selector.register(output, selectors.EVENT_READ)
        self._selector.register(bell, selectors.EVENT_READ)
        self._signals, self._signalled = socket.socketpair()

    def __enter__(self) -> Waiting:
        for end in (self._signals, self._signalled):
            end.setblocking(False)
        self._selector.register(self._signals, selectors.EVENT_READ)
        self._before = signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._before)
        self._selector.close()
        self._signals.close()
        self._signalled.close()

    def wait(self, timeout: float) -> bool:
        """Wait `timeout` seconds at most. Returns whether there is output to read, or its end."""
        ready = {key.fd for key, _ in self._selector.select(timeout)}
        for fd in ready - {self._output}:
            with suppress(ConnectionResetError):  # the worker died before it took its payload; then comes the end
                if not os.read(fd, 1 << 12):  # the worker is gone
                    self._selector.unregister(fd)
        return self._output in ready

    def ignore_output(self) -> None:
        """Wait for output no longer."""
        self._selector.unregister(self._output)
