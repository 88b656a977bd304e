"""Legs on the machines of a Dask cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import msgspec

from harness.cluster.board import Board, Changed, Ended, Slot
from harness.cluster.connection import Cluster, Node, connected
from harness.cluster.leg_slots import carry_out, control, decode_controlled, decode_result
from harness.errors import RecordingError
from harness.schemas.leg import Leg, LegResult
from harness.studies.engine import LegEngines
from harness.studies.leg_runs import STOP, last_directory
from harness.studies.local_legs import finished, interrupted

_POLL = 0.2  # seconds between two looks at whether somebody waits
_PATIENCE = 150  # looks for which all workers may be gone
_CONTROL = 3  # iterations
_OTHER_BITS = "other bits"


@contextmanager
def legs_on(address: str, tell: Callable[[str], None] = lambda sentence: None) -> Iterator[LegEngines]:
    """Connect to the Dask scheduler at `address`, or that of a scheduler file, to have legs carried out by its workers.

    Args:
        tell: is told what the user shall know of the workers.

    Raises:
        ModuleNotFoundError: the extra `cluster` is not installed.
        BadInput: it does not answer, or has no worker that can be used.
    """
    with connected(address) as cluster:
        yield legs_of(cluster, tell)


def legs_of(cluster: Cluster, tell: Callable[[str], None]) -> LegEngines:
    """Return what makes engines for legs of the workers of `cluster`, after `tell` was told which are left out."""
    for why in cluster.take_rejected():
        tell(f"Left out: {why}")
    standing: dict[str, str] = {}
    return lambda: DaskLegs(cluster, tell, standing)


@dataclass(frozen=True)
class _Work:
    """A leg that a slot makes; or an unchanged one that shows whether its worker reproduces the recorded bits."""

    leg: Leg
    is_control: bool = False


class DaskLegs:
    """A `LegEngine` that carries out legs on the workers of a cluster, one at a time in each of their slots.

    Run directories lie on a path that all machines share. Each worker first repeats a few iterations of a parent.

    Args:
        standing: what is to be said of the legs of a worker, by address, once its control has ended; engines of one
            connection share it.
    """

    def __init__(self, cluster: Cluster, tell: Callable[[str], None], standing: dict[str, str]) -> None:
        self._cluster, self._tell, self._standing = cluster, tell, standing
        self._board = Board[_Work](cluster)
        self._waiting: deque[Leg] = deque()
        self._ended: deque[LegResult] = deque()  # without a process
        self._stopping = set[Leg]()
        self._mark, self._count = uuid4().hex[:8], 0  # of the keys of its calls
        self._missing = 0
        self._reasons = list[str]()  # why workers are not used
        self._cancelled = False

    def submit(self, leg: Leg) -> None:
        self._waiting.append(leg)

    def results(self) -> Iterator[LegResult | None]:
        while True:
            if self._cancelled:
                self._waiting.clear()
                self._stopping |= {work.leg for work in self._board.works}
            yield from self._without_process()
            if not self._waiting and not any(not work.is_control for work in self._board.works):
                return
            self._assign()
            self._write_stops()
            yield None
            event = self._board.next(_POLL)
            match event:
                case Ended(_, work):
                    yield from self._judged(event) if work.is_control else self._finished(event)
                case Changed():
                    self._changed(event)
            self._check_workers()

    def stop(self, leg: Leg) -> None:
        if leg in self._waiting:
            self._waiting.remove(leg)
            self._ended.append(interrupted(leg))
        else:
            self._stopping.add(leg)

    def cancel(self) -> None:
        self._cancelled = True

    def close(self) -> None:
        """End all; what still runs takes a snapshot, as the scheduler gives it up."""
        self._waiting.clear()
        self._board.close(seconds=0)

    def _without_process(self) -> Iterator[LegResult]:
        """Yield the results of legs that need no process."""
        for leg in list(self._waiting):
            done = finished(leg)
            if done is not None:
                self._waiting.remove(leg)
                self._ended.append(done)
        while self._ended:
            yield self._ended.popleft()

    def _assign(self) -> None:
        busy = {work.leg.directory for work in self._board.works}
        for slot in self._board.slots:
            leg = next((leg for leg in self._waiting if leg.directory not in busy), None)
            if slot.work is not None or leg is None:
                continue
            if slot.node.address not in self._standing:
                if not any(work.is_control for work in self._works_of(slot.node)):
                    until = min(leg.start + _CONTROL, leg.until)
                    unchanged = Leg(leg.parent, leg.start, until, (), leg.directory)
                    self._give(slot, _Work(unchanged, is_control=True))
                continue
            self._waiting.remove(leg)
            busy.add(leg.directory)
            self._give(slot, _Work(leg))

    def _works_of(self, node: Node) -> list[_Work]:
        return [slot.work for slot in self._board.slots if slot.node == node and slot.work is not None]

    def _give(self, slot: Slot[_Work], work: _Work) -> None:
        self._count += 1
        function = control if work.is_control else carry_out
        key = f"leg-{Path(work.leg.directory).name}-{self._mark}-{self._count}"
        self._board.give(slot, work, key, function, msgspec.json.encode(work.leg))

    def _write_stops(self) -> None:
        """Write STOP into the last run directory of each leg that is to end; the process may not be there yet."""
        for work in self._board.works:
            if work.leg in self._stopping and not work.is_control:
                with suppress(OSError):
                    (last_directory(work.leg) / STOP).touch()

    def _judged(self, ended: Ended[_Work]) -> Iterator[LegResult]:
        """Take what the control of a worker has shown."""
        node = ended.slot.node
        if ended.answer is None:
            self._leave_out(node, ended.why)
            return
        shown = decode_controlled(ended.answer)
        verified = shown.verified
        if verified is None:
            why = f" ({shown.why})" if shown.why else ""
            self._leave_out(node, f"it could not repeat iterations of {ended.work.leg.parent}{why}")
        elif verified.first_difference is not None:
            self._standing[node.address] = _OTHER_BITS
            self._tell(
                f"{node.name} does not reproduce the recorded bits, from iteration {verified.first_difference:,} on; "
                "its restarts count as additional seeds"
            )
        else:
            self._standing[node.address] = ""
            if verified.compared:
                self._tell(f"{node.name} reproduces the recorded bits")
        yield from ()

    def _finished(self, ended: Ended[_Work]) -> Iterator[LegResult]:
        leg, node = ended.work.leg, ended.slot.node
        if ended.answer is None:
            self._waiting.appendleft(leg)
            self._leave_out(node, ended.why)
            return
        if leg in self._stopping:
            self._stopping.discard(leg)
            (last_directory(leg) / STOP).unlink(missing_ok=True)
        remark = self._standing.get(node.address, "")
        worker = f"{node.name} ({remark})" if remark else node.name
        yield msgspec.structs.replace(decode_result(ended.answer), worker=worker)

    def _changed(self, changed: Changed[_Work]) -> None:
        for node, works in changed.lost:
            self._standing.pop(node.address, None)
            legs = [work.leg for work in works if not work.is_control]
            self._tell(f"{node.name} is lost" + ("; its restarts go on elsewhere" if legs else ""))
            self._again(legs)
        for why in changed.rejected:
            self._tell(f"Left out: {why}")

    def _again(self, legs: list[Leg]) -> None:
        """Have legs go on elsewhere, unless they were to end."""
        for leg in legs:
            if leg in self._stopping:
                self._stopping.discard(leg)
                self._ended.append(interrupted(leg))
            else:
                self._waiting.appendleft(leg)

    def _leave_out(self, node: Node, why: str) -> None:
        self._again([work.leg for work in self._board.drop(node) if not work.is_control])
        self._reasons.append(f"{node.name}: {why}")
        self._tell(f"Left out: {self._reasons[-1]}")

    def _check_workers(self) -> None:
        """Check that there is a worker, or may be one soon.

        Raises:
            RecordingError: there is none.
        """
        self._missing = 0 if self._board.slots else self._missing + 1
        if self._missing > _PATIENCE or (self._missing and self._reasons):
            why = "; ".join(self._reasons) or "all are lost"
            raise RecordingError(f"No worker of {self._cluster.address} can make restarts ({why})")
