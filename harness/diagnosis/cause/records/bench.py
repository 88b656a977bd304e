"""The bench on which effects of records are measured: arms in which all suspected batches are ordinary ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.records.outlying import Usual
from harness.diagnosis.cause.records.stand_ins import Sources, Spot, batches_from, replaced
from harness.schemas.arm import AnyChange, Arm, Place, StreamShifted

SHARE = 1 / 4  # of what each record would do if all of a batch did the same: less never matters, since effects add up
_BATCH = 3.0  # standard deviations of the effects of ordinary batches: what a record does below that does not matter


@dataclass(frozen=True)
class Bench:
    """Where effects are measured: arms from the first of `batches` on, each of which has ordinary records only.

    Attributes:
        batches: the iterations whose batches are suspected, in their order.
        ordinary: iterations whose records did no harm, the nearest first.
    """

    case: Case
    batches: tuple[int, ...]
    ordinary: tuple[int, ...]

    def spots(self, batch: int) -> tuple[Spot, ...]:
        """List where the records of a batch stand."""
        return tuple(Spot(Place(batch, n), reading) for reading in self.case.readings for n in range(reading.count))

    @property
    def count(self) -> int:
        """The records of a batch."""
        return sum(reading.count for reading in self.case.readings)

    def stand_ins(self, number: int, spots: Sequence[Spot]) -> dict[Spot, Place]:
        """Return ordinary records for `spots`: those at the same positions of another iteration for each `number`.

        Where the ordinary iterations have been used up, they come again, with their records at other positions.
        """
        iteration = self.ordinary[number % len(self.ordinary)]
        turn = number // len(self.ordinary)
        return {spot: Place(iteration, spot.moved(0, turn).place.position) for spot in spots}

    def arm(self, batch: int, sources: Sources, lags: int) -> Arm:
        """Return an arm with `sources` in `batch`; suspected batches before it, and `lags` after it, are ordinary."""
        before = [t for t in self.batches if t < batch]
        others = [self.ordinary[-1 - number % len(self.ordinary)] for number in range(len(before))]
        after = [self.ordinary[lag % len(self.ordinary)] for lag in range(lags)]
        changes: list[AnyChange] = [StreamShifted(t, s, t + 1) for t, s in zip(before, others, strict=True)]
        changes += batches_from(batch + 1, after)
        moved = replaced(sources)
        return Arm(
            self.batches[0], batch - self.batches[0] + 1 + lags, (*changes, *([moved] * bool(moved.replacements)))
        )

    def least(self, whole: Sequence[float], usual: Usual) -> tuple[float, ...]:
        """Return the rises below which a single record does not matter, for each iteration after the batch.

        `whole` are the rises with the whole batch: of more than twice that to the limit, a record's share does not
        matter. `usual` are the effects of ordinary batches.
        """
        rises = (min(max(rise, self.to_limit), 2 * self.to_limit) for rise in whole)
        return tuple(
            max(SHARE * rise / self.count, _BATCH * spread) for rise, spread in zip(rises, usual.spread, strict=True)
        )

    @property
    def to_limit(self) -> float:
        """The rise of the loss with which training counts as broken."""
        return self.case.levels.limit - self.case.levels.healthy
