"""Find the records that were changed and do no damage: what a net classifies well has hardly any gradient."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from harness.schemas.arm import Arm, RecordsReplaced
from tools.bench.faults.replays import replayed
from tools.bench.faults.undos import replaced

_LOSS = 0.1  # of a record alone, beyond that of the ordinary one in whose place it is


def harmless(run: Path, records: Sequence[int], batch: int, snapshot_every: int) -> list[int]:
    """Return the numbers of those of `records` whose own loss is that of ordinary records.

    Each is read once with ordinary records in the places of all the others, from the state before the first of them.
    """
    start = records[0] // batch
    arms = {number: _arm(start, number, [other for other in records if other != number], batch) for number in records}
    ordinary = {number: _arm(start, number, records, batch) for number in records}
    found = replayed([*arms.values(), *ordinary.values()], start // snapshot_every * snapshot_every, run)

    def own_loss(number: int) -> float:
        """Return by how much the loss of the record is higher than that of the ordinary one; NaN counts as much."""
        alone, without = found[arms[number].key].loss[-1], found[ordinary[number].key].loss[-1]
        return batch * (alone - without)

    return [number for number in records if own_loss(number) < _LOSS]


def _arm(start: int, number: int, others: Collection[int], batch: int) -> Arm:
    until = number // batch + 1
    wanted = tuple(other for other in others if other // batch < until)
    changes: tuple[RecordsReplaced, ...] = (replaced(wanted, batch, start),) if wanted else ()
    return Arm(start, until - start, changes)
