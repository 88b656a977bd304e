"""A replay worker, as the process that started it sees it."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from multiprocessing import Pipe
from typing import IO

from harness.caffe_log.death import death_message, without_header
from harness.processes import child_environment, signals_blocked
from harness.schemas.arm_task import FromWorker, Task, decode_from_worker, encode
from harness.schemas.feed import Feed
from harness.worker.payload import Payload

_LAST_MOMENT = 0.2  # seconds in which a process that has closed its connection is gone
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class ReplayProcess:
    """A replay worker: a process, and the connection to it.

    Args:
        payload: with the state of the run before the first iteration from which arms may start.
        feed: a batch of each data layer.
        store: the open file of the batch store, which the process inherits.
        directory: in which it works, from which relative paths count.

    Attributes:
        task: what it computes.
        is_ready: it has its checkpoint.
    """

    def __init__(self, payload: Payload, feed: Feed, store: int, directory: str) -> None:
        self.task: Task | None = None
        self.is_ready = False
        self._directory = tempfile.TemporaryDirectory(prefix="caffe-harness-")
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `end`
        self.connection, theirs = Pipe()
        blas = payload.blas
        with theirs, signals_blocked():  # the terminal's Ctrl-C is for this process, which ends its workers
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "harness.worker.arms.main"),
                    *(str(theirs.fileno()), str(store), self._directory.name),
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(), store),
                env=child_environment(payload.info.blas_threads, blas.core if blas is not None else None),
                cwd=directory,
                start_new_session=True,
            )
        with suppress(BrokenPipeError):  # it is dead already: there will be nothing to receive
            self.connection.send_bytes(payload.encode())
            self.connection.send_bytes(encode(feed))

    @property
    def is_idle(self) -> bool:
        return self.is_ready and self.task is None

    def give(self, task: Task) -> None:
        """Have it compute `task`."""
        self.task = task
        with suppress(BrokenPipeError):
            self.connection.send_bytes(encode(task))

    def receive(self) -> FromWorker | None:
        """Receive a message; None if it has died."""
        try:
            return decode_from_worker(self.connection.recv_bytes())
        except (EOFError, OSError):
            return None

    def end(self) -> tuple[str, bool]:
        """End it. Returns how it ended, and whether a signal from outside did it; of one that had died by itself."""
        self.connection.close()
        with suppress(subprocess.TimeoutExpired):  # one that died has closed the connection a moment before
            self.process.wait(_LAST_MOMENT)
        self.process.kill()
        code = self.process.wait()
        self._output.seek(0)
        said = death_message(self._output.read().decode(errors="replace").splitlines())
        self._output.close()
        self._directory.cleanup()
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
        words = f": {without_header(said[0])}" if said else ""
        return f"The process that replayed it {how}{words}", -code in _FROM_OUTSIDE
