"""An engine of replay workers on the machines of a Dask cluster."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import msgspec

from harness import __version__
from harness.cluster.board import Board, Changed, Ended, Slot
from harness.cluster.census import Census
from harness.cluster.connection import Cluster, Node, connected
from harness.cluster.shared_room import shared_room, stop, write_setting
from harness.cluster.slots import TOPIC, Died, Hidden, Stopped, decode_from_slot, replay
from harness.errors import RecordingError
from harness.experiments import Engines
from harness.experiments.control import compare
from harness.experiments.engine import Notice, Setting
from harness.schemas.arm import ArmResult
from harness.schemas.arm_task import Done, Progress, Ready, Task, Unfit, decode_from_worker, encode

_POLL = 0.1  # seconds between two looks at whether all work was cancelled
_PATIENCE = 30.0  # seconds for which all workers may be gone: those that died may be started again


@contextmanager
def arms_on(address: str) -> Iterator[Engines]:
    """Connect to the Dask scheduler at `address`, or that of a scheduler file, to have arms replayed by its workers.

    Raises:
        ModuleNotFoundError: the extra `cluster` is not installed.
        BadInput: it does not answer, or has no worker that can be used.
    """
    with connected(address) as cluster:
        yield engines_of(cluster)


def engines_of(cluster: Cluster) -> Engines:
    """Return what makes engines of the workers of `cluster`."""
    return Engines(lambda setting: DaskArms(setting, cluster), lambda setup: cluster.slots, shared_room)


class DaskArms:
    """Replays arms on the workers of a cluster, one at a time in each of their slots; see `Engine`.

    Each slot first replays a few unchanged iterations. If their digests are not the recorded ones, its arms say so in
    `not_exact`, and it gets no unchanged arms while other slots are exact.
    """

    def __init__(self, setting: Setting, cluster: Cluster) -> None:
        self._setting, self._cluster = setting, cluster
        write_setting(setting)
        self._control = setting.control()
        self._queue: deque[Task] = deque()
        self._progress = SimpleQueue[Progress]()
        self._census = Census()
        self._standing: dict[Slot[Task], str] = {}  # why a slot is not exact, once its control is compared
        self._killed = set[str]()  # arms whose process was killed or whose worker was lost, once
        self._reasons = list[str]()  # why workers are not used
        self._count = 0
        self._missing_since: float | None = None
        self._cancelled = False
        self._board = Board[Task](cluster)
        cluster.client.subscribe_topic(TOPIC, self._take_progress)

    @property
    def ready(self) -> Ready | None:
        return self._census.ready

    def submit(self, task: Task) -> None:
        self._queue.append(task)

    def events(self) -> Iterator[Progress | Notice | ArmResult]:
        yield from (Notice(f"Left out: {why}") for why in self._cluster.take_rejected())
        while self._queue or any(map(self._is_arm, self._board.works)):
            self._assign()
            event = self._board.next(_POLL)
            if self._cancelled:
                self.close()
                return
            while not self._progress.empty():
                yield self._progress.get()
            match event:
                case Ended(_, work):
                    found = list(self._judged(event) if work is self._control else self._finished(event))
                    self._assign()  # before the result is looked at, which may take a while
                    yield from found
                case Changed():
                    yield from self._changed(event)
            self._check_workers()

    def cancel(self) -> None:
        self._cancelled = True

    def rest(self) -> None: ...  # processes without an arm end by themselves

    def close(self) -> None:
        self._queue.clear()
        stop(self._setting.home)
        self._board.close()

    def _is_arm(self, work: Task) -> bool:
        return work is not self._control

    def _take_progress(self, event: tuple[float, tuple[str, bytes]]) -> None:
        """Take what a slot tells. Other commands may use the same cluster."""
        room, content = event[1]
        message = decode_from_worker(content)
        if room == self._setting.home.name and isinstance(message, Progress) and message.key != self._control.arm.key:
            self._progress.put(message)

    def _assign(self) -> None:
        """Give each free slot a control, if it has made none, or else an arm."""
        exact = any(not why for why in self._standing.values())
        judged = all(slot in self._standing for slot in self._board.slots)
        for slot in self._board.slots:
            if slot.work is not None:
                continue
            if slot not in self._standing:
                self._give(slot, self._control)
            else:
                takes_all = not self._standing[slot] or (judged and not exact)
                task = next((task for task in self._queue if takes_all or task.arm.changes), None)
                if task is not None:
                    self._queue.remove(task)
                    self._give(slot, task)

    def _give(self, slot: Slot[Task], task: Task) -> None:
        os.fsync(self._setting.store)
        self._count += 1
        key = f"arm-{task.arm.key}-{self._setting.home.name}-{self._count}"
        size = os.fstat(self._setting.store).st_size
        self._board.give(slot, task, key, replay, str(self._setting.home), encode(task), size)

    def _judged(self, ended: Ended[Task]) -> Iterator[Notice]:
        """Compare the control of a slot with the recording."""
        slot = ended.slot
        match self._answer(ended):
            case Done(result) if result.digest:
                ready = Ready(result.digest[0], result.not_exact)
                self._standing[slot] = self._census.judge(slot.node, compare(self._run, result), ready)
            case Done(result):
                yield from self._drop(slot.node, result.why)
            case Died(why, killed):
                if not killed or slot.node.address in self._killed:
                    yield from self._drop(slot.node, why)
                self._killed.add(slot.node.address)
            case Unfit(why) | Hidden(why):
                yield from self._drop(slot.node, why)
        if all(slot in self._standing for slot in self._board.slots) and (sentence := self._census.news()):
            yield Notice(sentence)

    def _finished(self, ended: Ended[Task]) -> Iterator[Notice | ArmResult]:
        """Take the result of an arm, or have it replayed again."""
        task, why_not = ended.work, self._standing[ended.slot]
        match self._answer(ended):
            case Done(result):
                if why_not:
                    result = msgspec.structs.replace(result, not_exact=(*result.not_exact, why_not))
                yield result
            case Died(why, killed):
                yield from self._again(task, why) if killed else [self._died(task, why, killed=False)]
            case Unfit(why) | Hidden(why):
                self._queue.append(task)
                yield from self._drop(ended.slot.node, why)
            case Stopped():
                self._queue.append(task)

    def _answer(self, ended: Ended[Task]) -> Done | Unfit | Died | Stopped | Hidden:
        return Hidden(ended.why) if ended.answer is None else decode_from_slot(ended.answer)

    def _again(self, task: Task, why: str) -> Iterator[ArmResult]:
        """Have an arm replayed once more, unless it was already."""
        if task.arm.key in self._killed:
            yield self._died(task, why, killed=True)
        else:
            self._killed.add(task.arm.key)
            self._queue.append(task)

    def _died(self, task: Task, why: str, killed: bool) -> ArmResult:
        return ArmResult(arm=task.arm, ended="died", why=why, killed=killed, harness=__version__)

    def _changed(self, changed: Changed[Task]) -> Iterator[Notice | ArmResult]:
        for node, works in changed.lost:
            self._forget(node)
            arms = list(filter(self._is_arm, works))
            yield Notice(f"{node.name} is lost" + ("; what it replayed is replayed elsewhere" if arms else ""))
            for task in arms:
                yield from self._again(task, f"The workers that replayed it were lost, {node.name} the last")
        for why in changed.rejected:
            yield Notice(f"Left out: {why}")

    def _drop(self, node: Node, why: str) -> Iterator[Notice]:
        """Use a worker no more."""
        self._queue.extend(filter(self._is_arm, self._board.drop(node)))
        self._forget(node)
        self._reasons.append(f"{node.name}: {why}")
        yield Notice(f"Left out: {self._reasons[-1]}")

    def _forget(self, node: Node) -> None:
        self._census.forget(node)
        self._standing = {slot: why for slot, why in self._standing.items() if slot.node != node}

    def _check_workers(self) -> None:
        """Check that there is a worker, or may be one soon.

        Raises:
            RecordingError: there is none.
        """
        if self._board.slots:
            self._missing_since = None
            return
        now = time.monotonic()
        self._missing_since = self._missing_since or now
        if self._reasons or now - self._missing_since > _PATIENCE:
            why = "; ".join(self._reasons) or "all are lost"
            raise RecordingError(f"No worker of {self._cluster.address} can replay {self._run} ({why})")

    @property
    def _run(self) -> Path:
        return Path(self._setting.payload.run)
