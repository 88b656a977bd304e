"""Draw a run in a process of its own, which can neither delay the run nor end it.

A write to a terminal may wait as long as its user likes (Ctrl-S, a dead ssh connection), and fails once the terminal
or the reader of a pipe is gone. The process that records therefore writes nothing itself. It sends what there is to
show through a socket, without waiting, to a process that draws. What shows the state of the run is left out while that
process is behind; messages wait for it.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from harness.errors import HarnessError
from harness.processes import batch_scheduling
from harness.reports.console import Console
from harness.reports.terminal import Terminal
from harness.schemas.events import Activations, Event, Frames, Kept
from harness.schemas.layout import Alarm, Layout
from harness.schemas.outcome import Divergence, Opening, Outcome

_STATE_EVERY = 0.95  # seconds: a drawing takes 3 ms of a core, which Caffe may need
_MOST_WAITING = 4 << 20  # bytes of messages
_STUCK = 2.0  # seconds that standard error may take nothing when the run is over
_LONGEST_END = 60.0  # seconds that the drawing of the last messages may take
_HEADER = 4  # bytes of the length before each call
_STDERR = 2
# Ctrl-C, Ctrl-Z in the background, and what is sent to all processes of a run are for the process that records.
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTOU)


class TerminalProcess:
    """Shows one run on standard error, as `screen` draws it. Create it before any thread.

    `dropped` says why nothing is shown any more; None while that is not so.
    """

    def __init__(self, screen: type[Terminal] = Terminal) -> None:
        self.dropped: str | None = None
        self._iteration: int | None = None
        self._frames: Frames | None = None  # the latest
        self._bytes = 0
        self._sent = 0.0  # time of the last state
        self._unsent = bytearray()
        self._pid = 0  # of the process that draws
        self._run: Path | None = None
        self._channel, theirs = socket.socketpair()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _be_drawer(theirs, blocked, screen)
        except OSError as error:  # too many processes
            self._drop(str(error))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            theirs.close()

    # -- what is shown ---------------------------------------------------------------------------------------------

    def start(self, opening: Opening) -> None:
        self._run = opening.directory
        self._call("start", opening)

    def event(self, event: Event) -> None:
        if isinstance(event, Frames):
            self._frames = Frames(event.rows[-1:])
            self._iteration = int(event.rows[-1]["iteration"])
        elif not isinstance(event, Layout | Kept | Activations):
            self._call("event", event)

    def alarms(self, alarms: Sequence[Alarm], divergences: Sequence[Alarm], divergence: Divergence | None) -> None:
        self._call("alarms", alarms, divergences, divergence)

    def message(self, text: str) -> None:
        self._call("message", text)

    def error(self, text: str) -> None:
        """Show the error because of which there is no run."""
        self._call("error", text)

    @contextmanager
    def showing_errors(self) -> Iterator[None]:
        """Show the error that ends the block."""
        try:
            yield
        except HarnessError as error:
            self.error(str(error))
            error.is_shown = True
            raise

    def reading(self, done: int, total: int) -> None:
        """Show how many of how many labels were read."""
        if self._is_due():
            self._call("reading", done, total)

    def tick(self, recorded_bytes: int) -> None:
        self._bytes = recorded_bytes
        self._send()
        if self._is_due():
            self._call_state()

    def finish(self, outcome: Outcome) -> None:
        self._call_state()
        divergence = outcome.divergence
        if divergence is not None and self._run is not None and self._is_connected:
            from harness.reports.text.worst_records import worst_records  # loaded where a training has diverged

            found = worst_records(self._run, divergence.onset.iteration)
            for line in found.lines:
                self.message(line)
            divergence = replace(divergence, outlying=found.outlying, is_kept=found.is_kept, rewind=found.rewind)
            outcome = replace(outcome, divergence=divergence)
        self._call("finish", outcome)
        self.close()

    def close(self) -> None:
        """Wait until everything is drawn, unless that is stuck."""
        now = free = time.monotonic()
        end = now + _LONGEST_END
        open_ = True
        while self._is_connected:
            self._send()
            if open_ and self._is_connected and not self._unsent:
                self._channel.shutdown(socket.SHUT_WR)
                open_ = False
            if self._is_connected and select.select([self._channel], [], [], 0.02)[0]:
                self._hear(ending=not open_)
            now = time.monotonic()
            if _takes_output():
                free = now
            if now - free > _STUCK:
                self._drop(f"standard error took no output for {_STUCK:.0f} s")
            elif now > end:
                self._drop(f"its end took more than {_LONGEST_END:.0f} s")

    # -- the process that draws --------------------------------------------------------------------------------------

    @property
    def _is_connected(self) -> bool:
        return self._channel.fileno() >= 0

    def _is_due(self) -> bool:
        """Check that a state may be shown: the last one is sent, and some time ago."""
        now = time.monotonic()
        if self._unsent or now - self._sent < _STATE_EVERY:
            return False
        self._sent = now
        return True

    def _call_state(self) -> None:
        if self._frames is not None:
            self._call("event", self._frames)
        self._call("tick", self._bytes)

    def _call(self, method: str, *arguments: object) -> None:
        """Have the process that draws call a method of its `Terminal`."""
        if self._is_connected:
            call = pickle.dumps((method, arguments))
            self._unsent += len(call).to_bytes(_HEADER, "little") + call
            self._send()

    def _send(self) -> None:
        """Send as much as the socket takes now."""
        try:
            while self._is_connected and self._unsent:
                del self._unsent[: self._channel.send(self._unsent, socket.MSG_DONTWAIT)]
        except BlockingIOError:
            if len(self._unsent) > _MOST_WAITING:
                self._drop(f"{len(self._unsent) >> 20} MiB of messages are waiting for standard error")
        except OSError:  # it has ended; what it said before is still there
            pass
        if self._is_connected:
            self._hear()

    def _hear(self, ending: bool = False) -> None:
        """Receive why the process that draws has given up, or that it has ended, which is in order when `ending`."""
        try:
            said = self._channel.recv(1 << 12, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if said or not ending:
            self._drop(said.decode() or "the process that draws has died")
        else:
            self._end_process()

    def _drop(self, why: str) -> None:
        when = "before the first iteration" if self._iteration is None else f"at iteration {self._iteration}"
        self.dropped = f"dropped {when}: {why}"
        self._end_process()

    def _end_process(self) -> None:
        self._channel.close()
        self._unsent.clear()
        if not self._pid:
            return
        os.kill(self._pid, signal.SIGKILL)
        until = time.monotonic() + 1  # a write to a dead network file system does not end even then
        while os.waitpid(self._pid, os.WNOHANG) == (0, 0) and time.monotonic() < until:
            time.sleep(0.001)


def _takes_output() -> bool:
    """Check that a write to standard error would not wait: there is space, or it would fail."""
    look = select.poll()
    look.register(_STDERR, select.POLLOUT)
    return bool(look.poll(0))


def _be_drawer(channel: socket.socket, blocked: set[int], screen: type[Terminal]) -> None:
    """Draw what `channel` asks for until it is closed; in the new process, which ends here."""
    try:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.closerange(3, channel.fileno())
        os.closerange(channel.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        gc.freeze()  # the objects that both processes share stay shared
        # not sys.stderr, whose own descriptor may be one of those closed above (where a test captures it)
        with batch_scheduling(), open(2, "w", buffering=1, errors="backslashreplace", closefd=False) as stderr:
            _draw(channel, screen(Console(file=stderr)))
    except Exception as error:
        why = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        with suppress(OSError):
            channel.send(why.encode(errors="replace")[: 1 << 12])
    finally:
        os._exit(0)  # nothing else of the process that was copied may run here


def _draw(channel: socket.socket, terminal: Terminal) -> None:
    due = 0.0
    while True:
        wait = max(0.0, due - time.monotonic()) if terminal.is_live else None
        if select.select([channel], [], [], wait)[0]:
            call = _receive(channel)
            if call is None:
                break
            method, arguments = call
            getattr(terminal, method)(*arguments)
        if terminal.is_live and time.monotonic() >= due:
            terminal.refresh()
            due = time.monotonic() + _STATE_EVERY
    terminal.close()


def _receive(channel: socket.socket) -> tuple[str, tuple[object, ...]] | None:
    """Receive a call; None at the end."""
    header = channel.recv(_HEADER, socket.MSG_WAITALL)
    length = int.from_bytes(header, "little")
    content = channel.recv(length, socket.MSG_WAITALL) if length else b""
    if len(header) < _HEADER or len(content) < length:  # the process that records has died
        return None
    method, arguments = pickle.loads(content)
    return method, arguments
