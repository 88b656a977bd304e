"""An engine of replay workers on this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait

from harness import __version__
from harness.errors import RecordingError
from harness.experiments.engine import Setting
from harness.experiments.replay_process import ReplayProcess
from harness.processes import cores
from harness.schemas.arm import ArmResult
from harness.schemas.arm_task import Done, Progress, Ready, Task, Unfit
from harness.schemas.run_info import TrainingSetup

_POLL = 0.2  # seconds between two looks at whether all work was cancelled


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
        self._workers: list[ReplayProcess] = []
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

    def rest(self) -> None:
        self._end_workers()  # others are started with the next arm

    def close(self) -> None:
        self._queue.clear()
        self._end_workers()

    def _end_workers(self) -> None:
        for worker in self._workers:  # all at once: they end after the iteration that they compute
            worker.connection.close()
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _assign(self) -> None:
        """Start workers as far as there is work for them, and give the idle ones an arm each."""
        busy = sum(worker.task is not None for worker in self._workers)
        while len(self._workers) < min(self._limit, busy + len(self._queue)):
            given = self._setting
            self._workers.append(ReplayProcess(given.payload, given.feed, given.store, given.directory))
        for worker in self._workers:
            if self._queue and worker.is_idle:
                worker.give(self._queue.popleft())

    def _receive(self, worker: ReplayProcess) -> Progress | ArmResult | None:
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

    def _died(self, worker: ReplayProcess) -> ArmResult | None:
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
