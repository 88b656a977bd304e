"""Stand-ins: records that did no harm, which take the places of others, and the changes that put them there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.diagnosis.cause.case import Case, Reading
from harness.diagnosis.robust_stats import SIGMA
from harness.schemas.arm import Place, RecordsReplaced, Replacement, StreamShifted

_PAST = 200  # iterations before the break in which stand-ins are looked for
_HIGH = 4.0  # standard deviations above the median: the loss of such an iteration is not ordinary


@dataclass(frozen=True)
class Spot:
    """Where a record stands: its place, in the data layers that read it."""

    place: Place
    reading: Reading

    def moved(self, iterations: int, positions: int) -> Spot:
        """Return the spot so many iterations later and positions further on; the first position follows the last."""
        position = (self.place.position + positions) % self.reading.count
        return Spot(Place(self.place.iteration + iterations, position), self.reading)


Sources = Mapping[Spot, Place]  # where the record at a spot comes from, if not from there


def ordinary_iterations(case: Case, before: int) -> tuple[int, ...]:
    """List the iterations before `before` whose loss was ordinary, the nearest first.

    Where nothing was read before, they are those after `before` whose batches the run read later: no better ones are
    known.
    """
    row = case.row(before)
    rows = slice(max(row - _PAST, case.row(case.earliest)), row)  # of others the batches cannot be read
    loss, iterations = case.loss[rows], case.iterations[rows]
    finite = np.isfinite(loss)
    if not finite.any():
        return tuple(t for t in case.iterations.tolist() if t > before)[:_PAST]
    centre = np.median(loss[finite])
    spread = SIGMA * np.median(np.abs(loss[finite] - centre))
    with np.errstate(invalid="ignore"):
        fine = loss <= centre + _HIGH * max(spread, 0.05 * abs(centre))
    return tuple(iterations[fine][::-1].tolist())


def replaced(sources: Sources) -> RecordsReplaced:
    """Return the change that puts the record of each source at its spot."""
    moved = [Replacement(s.place, source, s.reading.layers) for s, source in sources.items() if s.place != source]
    return RecordsReplaced(tuple(sorted(moved, key=lambda r: (r.place.iteration, r.layers, r.place.position))))


def batches_from(first: int, sources: Sequence[int]) -> tuple[StreamShifted, ...]:
    """Return the changes that have the iterations from `first` on read the batches of `sources`, one each."""
    return tuple(StreamShifted(first + n, source, first + n + 1) for n, source in enumerate(sources))
