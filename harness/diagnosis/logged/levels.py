"""Measure levels and noise of a series of displays."""

from __future__ import annotations

import math

import numpy as np

from harness.diagnosis.robust_stats import SIGMA, Floats, Ints

FEWEST = 3  # displays: one or two do not make a level
_PARTS = (3, 4, 5, 8, 12, 20, 32)  # of a log: one at the end may be lower than the others
_FALLS, _FEW = 0.005, 6  # relative; displays of which each must be lower than all before
KNOWN = 10  # displays from which noise is known: the median of 8 deviations is right to about a third


def running_median(values: Floats, count: int) -> Floats:
    """(N,) Return the median of each and the `count` - 1 before it; for the first ones that of the first `count`."""
    count = min(count, len(values))
    if count <= 1:
        return values
    medians = np.median(np.lib.stride_tricks.sliding_window_view(values, count), axis=1)
    return np.concatenate((np.full(count - 1, medians[0]), medians))


def block_medians(values: Floats, size: int) -> Floats:
    """Return the median of each whole block of `size` values; of all values, where there is no whole block."""
    whole = len(values) // size * size
    return np.median(values[:whole].reshape(-1, size), axis=1) if whole else np.array([np.median(values)])


def noise_of(values: Floats, lag: int = 1) -> float:
    """Return the standard deviation of single values about their trend, NaN where there are too few.

    Values closer than `lag` displays are means that share losses.
    """
    if len(values) < 2 * lag + 1:
        return math.nan
    return float(SIGMA * np.median(np.abs(_bends(values, lag))))


def _bends(values: Floats, lag: int) -> Floats:
    """Return how far each value is off the middle of its neighbours, scaled to one deviation; a slope cancels out."""
    return np.asarray((values[lag:-lag] - (values[: -2 * lag] + values[2 * lag :]) / 2) / math.sqrt(1.5))


def relative_noise(values: Floats, lag: int = 1) -> float:
    """Return the noise of one display as a share of its level, over the whole series; infinite if there are too few."""
    if len(values) < KNOWN + 2 * lag:
        return math.inf
    level = np.abs(running_median(values, 5))[lag:-lag]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(_bends(values, lag)) / level
    ratio = ratio[np.isfinite(ratio)]
    return float(SIGMA * np.median(ratio)) if len(ratio) else 0.0


def lag_of(iterations: Ints, span: int) -> int:
    """Return how many displays lie between two means over `span` losses that share none."""
    return math.ceil(span / max(float(np.median(np.diff(iterations))), 1.0)) if len(iterations) > 1 else 1


def correlated(values: Floats) -> int:
    """Return how many displays lie between two independent ones, by the values themselves.

    Means that share losses, and a level that wanders, differ more the farther apart they are.
    """
    lag = 1
    while 16 * lag < len(values) and noise_of(values, 2 * lag) > 1.2 * noise_of(values, lag):
        lag *= 2
    return lag


def falling_at_end(values: Floats, lag: int = 1) -> int:
    """Return how many displays at the end lie below those just before them, beyond the noise; 0 where none do.

    A net may stay at chance level for most of a log, and learn in its last part.
    """
    for share in _PARTS:
        count = len(values) // share
        if count < 2 or len(values) - count < 2 * FEWEST:
            continue
        before, last = values[: len(values) - count], values[-count:]
        before = before[len(before) // 2 :]
        level, end, noise = float(np.median(before)), float(np.median(last)), noise_of(before, lag)
        least = max(_FALLS * abs(level), 0.0 if math.isnan(noise) else 5 * noise / math.sqrt(max(count / lag, 1)))
        lower = np.max(last) < np.min(before) if count < _FEW else np.median(last[-count // 2 :]) <= end
        if level - end > least and lower:
            return count
    return 0
