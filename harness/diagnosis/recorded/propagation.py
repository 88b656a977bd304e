"""Follow how a break propagates: when the gradient of each param blob left its baseline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.diagnosis.recorded.baseline import MIN_ROWS, PARAM_ROWS
from harness.diagnosis.robust_stats import logarithm, outside
from harness.recording import Recording

_EXAMINED = 40  # iterations from the onset on


@dataclass(frozen=True)
class Departure:
    """The iteration at which the gradient of `param` (layer/index) left its baseline.

    `baseline` is the median of its norm before, `now` the norm at `iteration`.
    """

    param: str
    iteration: int
    baseline: float
    now: float


def propagation(recording: Recording, onset: int) -> tuple[Departure, ...]:
    """Find the param blobs whose gradient leaves its baseline within 40 iterations of the onset.

    They are in the order of their iterations, and in update order within an iteration.
    """
    row = int(np.searchsorted(recording.iterations, onset))
    before = recording.stat("gradient_l2", slice(max(0, row - PARAM_ROWS), row)).values
    after = recording.stat("gradient_l2", slice(row, row + _EXAMINED))
    if len(before) < MIN_ROWS:
        return ()
    far = outside(logarithm(before), logarithm(after.values)) | ~np.isfinite(after.values)
    baseline = np.median(before, axis=0)
    found = []
    for column in np.flatnonzero(far.any(axis=0)):
        first = int(np.argmax(far[:, column]))
        now = float(after.values[first, column])
        found.append(Departure(after.labels[column], int(after.iterations[first]), float(baseline[column]), now))
    return tuple(sorted(found, key=lambda departure: departure.iteration))
