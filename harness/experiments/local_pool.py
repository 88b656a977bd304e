"""An engine of replay workers on this machine."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import IO

from harness import __version__
from harness.caffe_log.death import death_message, without_header
from harness.errors import RecordingError
from harness.experiments.engine import Setting
from harness.processes import child_environment, cores, signals_blocked
from harness.schemas.arm import ArmResult
from harness.schemas.arm_task import Done, FromWorker, Progress, Ready, Task, Unfit, decode_from_worker, encode
from harness.schemas.run_info import TrainingSetup

_POLL = 0.2  # seconds between two looks at whether all work was cancelled
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def default_workers(setup: TrainingSetup) -> int:
    """Return how many replays of a run fill this machine: each uses as many threads as the run did."""
    return max(1, cores() // setup.blas_threads)


class LocalPool:
    """Up to `workers` replay workers; one that died is replaced, and an arm whose worker was killed is tried once more.

    Use it as a context manager.

    Attributes:
        ready: see `Engine`.
    """

    def __init__(self, setting: Setting, workers: int) -> None:
        self._setting, self._limit = setting, workers
        self._queue: deque[Task] = deque()
        self._workers: list[_Worker] = []
        self._cancelled = False
        self._killed = set[str]()  # arms whose worker was killed, once
        self._killed_alone = False  # a worker was killed as it started, and there was no other
        self.ready: Ready | None = None

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The processes of the workers."""
        return [worker.process.pid for worker in self._workers]

    def submit(self, task: Task) -> None:
        self._queue.append(task)

    def events(self) -> Iterator[Progress | ArmResult]:
        while self._queue or any(worker.task for worker in self._workers):
            self._assign()
            connections = {worker.connection: worker for worker in self._workers}
            ready = wait(list(connections), _POLL)
            if self._cancelled:
                self.close()
                return
            for connection in ready:
                assert isinstance(connection, Connection)
                event = self._receive(connections[connection])
                if event is not None:
                    yield event

    def cancel(self) -> None:
        self._cancelled = True

    def close(self) -> None:
        self._queue.clear()
        for worker in self._workers:  # all at once: they end after the iteration that they compute
            worker.connection.close()
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _assign(self) -> None:
        """Start workers as far as there is work for them, and give the idle ones an arm each."""
        busy = sum(worker.task is not None for worker in self._workers)
        while len(self._workers) < min(self._limit, busy + len(self._queue)):
            self._workers.append(_Worker(self._setting))
        for worker in self._workers:
            if self._queue and worker.is_idle:
                worker.give(self._queue.popleft())

    def _receive(self, worker: _Worker) -> Progress | ArmResult | None:
        """Receive what a worker sends, or that it has died. Returns what concerns an arm."""
        message = worker.receive()
        match message:
            case Ready():
                worker.is_ready = True
                self.ready = self.ready or message
            case Progress():
                return message
            case Done(result):
                worker.task = None
                return result
            case Unfit(reason):
                raise RecordingError(reason)
            case None:
                return self._died(worker)
        return None

    def _died(self, worker: _Worker) -> ArmResult | None:
        """Clear away a worker that has died. Returns the result of its arm, unless another worker shall try it again.

        One that was killed from outside, as the kernel does where memory is short, says nothing about its arm.
        """
        self._workers.remove(worker)
        why, killed = worker.end()
        if not worker.is_ready:
            if not killed or self._killed_alone:
                raise RecordingError(f"{self._setting.payload.run}: it cannot be replayed. {why}")
            self._killed_alone = not self._workers
            self._limit = max(1, len(self._workers))
        elif worker.task is not None:
            arm = worker.task.arm
            if not killed or arm.key in self._killed:
                return ArmResult(arm=arm, ended="died", why=why, killed=killed, harness=__version__)
            self._killed.add(arm.key)
            self._queue.append(worker.task)
        return None


class _Worker:
    """A replay worker: a process, and the connection to it.

    Attributes:
        task: what it computes.
        is_ready: it has its checkpoint.
    """

    def __init__(self, setting: Setting) -> None:
        self.task: Task | None = None
        self.is_ready = False
        self._directory = tempfile.TemporaryDirectory(prefix="caffe-harness-")
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `end`
        self.connection, theirs = Pipe()
        blas = setting.payload.blas
        with theirs, signals_blocked():  # the terminal's Ctrl-C is for this process, which ends its workers
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "harness.worker.arms.main"),
                    *(str(theirs.fileno()), str(setting.store), self._directory.name),
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(), setting.store),
                env=child_environment(setting.payload.info.blas_threads, blas.core if blas is not None else None),
                cwd=setting.directory,
                start_new_session=True,
            )
        with suppress(BrokenPipeError):  # it is dead already: there will be nothing to receive
            self.connection.send_bytes(setting.payload.encode())
            self.connection.send_bytes(encode(setting.feed))

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
            self.process.wait(_POLL)
        self.process.kill()
        code = self.process.wait()
        self._output.seek(0)
        said = death_message(self._output.read().decode(errors="replace").splitlines())
        self._output.close()
        self._directory.cleanup()
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
        words = f": {without_header(said[0])}" if said else ""
        return f"The process that replayed it {how}{words}", -code in _FROM_OUTSIDE
