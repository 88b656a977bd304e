"""How a break travels: when the gradient of each param blob left its past."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.diagnosis.recorded.localize import LEAST_ROWS, PARAM_ROWS, unusual
from harness.diagnosis.recorded.robust_stats import logarithm
from harness.recording import Recording

_LOOKED_AT = 40  # iterations from the onset on


@dataclass(frozen=True)
class Departure:
    """`param` (layer/index) left its past at `iteration`: its gradient's norm was `usual` (median), and `now` it is."""

    param: str
    iteration: int
    usual: float
    now: float


def propagation(recording: Recording, onset: int) -> tuple[Departure, ...]:
    """The param blobs whose gradient leaves its past within 40 iterations of the onset, first come first, and in update
    order where they come at once."""
    row = int(np.searchsorted(recording.iterations, onset))
    before = recording.stat("gradient_l2", slice(max(0, row - PARAM_ROWS), row)).values
    after = recording.stat("gradient_l2", slice(row, row + _LOOKED_AT))
    if len(before) < LEAST_ROWS:
        return ()
    far = unusual(logarithm(before), logarithm(after.values)) | ~np.isfinite(after.values)
    usual = np.median(before, axis=0)
    found = []
    for column in np.flatnonzero(far.any(axis=0)):
        first = int(np.argmax(far[:, column]))
        now = float(after.values[first, column])
        found.append(Departure(after.labels[column], int(after.iterations[first]), float(usual[column]), now))
    return tuple(sorted(found, key=lambda arrival: arrival.iteration))
