"""Find the records that were changed and do no damage: after their update the loss is what it is with ordinary ones."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path

from harness.schemas.arm import Arm, ArmResult, RecordsReplaced
from tools.bench.faults.replays import replayed
from tools.bench.faults.undos import replaced

_LOSS = 0.1  # of a record alone, beyond that of the ordinary one in whose place it is; of all of a batch after it
_AFTER = 2  # iterations after it


def harmless(run: Path, records: Sequence[int], batch: int, snapshot_every: int) -> list[int]:
    """Return the numbers of those of `records` that the net classifies well, or whose update does not raise the loss.

    Each is read once with ordinary records in the places of all the others, from the state before the first of them.
    """
    start = records[0] // batch
    arms = {number: _arm(start, number, [other for other in records if other != number], batch) for number in records}
    ordinary = {number: _arm(start, number, records, batch) for number in records}
    found = replayed([*arms.values(), *ordinary.values()], start // snapshot_every * snapshot_every, run)

    def rises(number: int) -> list[float]:
        """Return by how much the losses are higher than with the ordinary record, summed over the batch; own first."""
        with_it, without = found[arms[number].key], found[ordinary[number].key]
        own = number // batch - start
        return [batch * (_loss(with_it, own + lag) - _loss(without, own + lag)) for lag in range(_AFTER + 1)]

    return [number for number in records if does_no_damage(*rises(number))]


def does_no_damage(own: float, *after: float) -> bool:
    """Check whether a record raises its own loss, or those of the iterations after its update, by next to nothing."""
    return own < _LOSS or all(rise < _LOSS for rise in after)


def _loss(result: ArmResult, row: int) -> float:
    """Return the loss of an iteration; NaN, which no limit is above, where the replay ended before."""
    return result.loss[row] if row < len(result.loss) else math.nan


def _arm(start: int, number: int, others: Collection[int], batch: int) -> Arm:
    until = number // batch + 1 + _AFTER
    wanted = tuple(other for other in others if other // batch < until)
    changes: tuple[RecordsReplaced, ...] = (replaced(wanted, batch, start),) if wanted else ()
    return Arm(start, until - start, changes)
