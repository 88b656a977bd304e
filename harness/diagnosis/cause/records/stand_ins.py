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
_LEAST = 0.05  # of the median: the least standard deviation that the loss is taken to have


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
    """List the iterations before `before` whose loss was ordinary and whose batches can be read, the nearest first.

    Those that read a record from near the break as well are left out. Where none is left, they are iterations after the
    break: no better ones are known.
    """
    earliest = max(case.earliest, before - _PAST)
    rows = slice(case.row(earliest), case.row(before))
    iterations, loss = case.iterations[rows], case.loss[rows]
    finite = loss[np.isfinite(loss)]
    centre = np.median(finite) if finite.size else 0.0
    spread = SIGMA * np.median(np.abs(finite - centre)) if finite.size else 0.0
    with np.errstate(invalid="ignore"):
        fine = loss <= centre + _HIGH * max(spread, _LEAST * abs(centre))
    found = [t for t in iterations[fine][::-1].tolist() if t not in case.alike]
    later = (t for t in range(before + 1, before + _PAST) if t not in case.alike and t > case.at)
    return tuple(found) or tuple(later)


def replaced(sources: Sources) -> RecordsReplaced:
    """Return the change that puts the record of each source at its spot."""
    moved = [Replacement(s.place, source, s.reading.layers) for s, source in sources.items() if s.place != source]
    return RecordsReplaced(tuple(sorted(moved, key=lambda r: (r.place.iteration, r.layers, r.place.position))))


def batches_from(first: int, sources: Sequence[int]) -> tuple[StreamShifted, ...]:
    """Return the changes that have the iterations from `first` on read the batches of `sources`, one each."""
    return tuple(StreamShifted(first + n, source, first + n + 1) for n, source in enumerate(sources))
