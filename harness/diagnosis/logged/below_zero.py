"""Recognise losses that cannot be below zero, or that fall below it without bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.diagnosis.departures import FLOOR
from harness.diagnosis.logged.levels import FEWEST
from harness.diagnosis.logged.tracks import Track
from harness.diagnosis.robust_stats import Floats

# Losses of Caffe that are never negative for the inputs that they are made for.
_NEVER_NEGATIVE = (
    *("SoftmaxWithLoss", "MultinomialLogisticLoss", "SigmoidCrossEntropyLoss", "EuclideanLoss", "HingeLoss"),
    *("ContrastiveLoss", "InfogainLoss", "SmoothL1Loss"),
)
_TIMES = 2.0  # of its largest magnitude at the start: a loss that falls so far below zero
_GOES_ON = 0.5  # of the fall of the second third: that of the last one


def is_below_zero(tracks: Sequence[Track], total: Floats, loss_types: Mapping[str, str]) -> bool:
    """Check whether a loss is negative that never should be, or the total falls below zero without bound."""
    for track in tracks:
        finite = track.finite
        if loss_types.get(track.name) in _NEVER_NEGATIVE and track.weight > 0 and len(finite) and finite[-1] < -FLOOR:
            return True
    return _falls_without_bound(total)


def _falls_without_bound(values: Floats) -> bool:
    """Check whether a loss ends far below zero, and fell as fast in the last third as before."""
    if len(values) < FEWEST or values[-1] >= 0:
        return False
    first, middle, last = (float(np.median(part)) for part in np.array_split(values, 3))
    start = float(np.abs(values[: max(len(values) // 10, 1)]).max())
    return -last > _TIMES * max(start, 1.0) and middle - last > _GOES_ON * (first - middle) > 0
