"""What a loss does besides having a level: spikes that come back, swings that do not end."""

from __future__ import annotations

import math

import numpy as np

from harness.analysis.forensics.findings import Spike
from harness.analysis.forensics.levels import Floats, Ints, noise_of, relative_noise

_AROUND = 5  # displays on either side that say what is usual
_FAR = 8.0  # standard deviations
_BLOCKS = 24  # of displays, whose medians show swings
_SURE = 6.0  # standard errors of such a median
_SWINGS = 4  # down and up, twice


def find_spikes(iterations: Ints, values: Floats, stop: int, lag: int) -> tuple[Spike, ...]:
    """Excursions in the displays before row `stop` that came back: twice the usual value, and far beyond the noise."""
    values = values[:stop]
    around = _AROUND + lag
    if len(values) < 2 * around + 1:
        return ()
    windows = np.median(np.lib.stride_tricks.sliding_window_view(values, around), axis=1)
    middle = np.arange(around, len(values) - around)
    # the higher of what was before and what comes after: a steep fall is no spike
    usual = np.maximum(windows[middle - around], windows[middle + 1])
    limit = usual + np.maximum(_FAR * relative_noise(values, lag), 1.0) * np.abs(usual)
    rows = middle[values[middle] > limit]
    groups = np.split(rows, np.flatnonzero(np.diff(rows) > lag) + 1) if len(rows) else []
    return tuple(
        Spike(
            int(iterations[g[0]]),
            int(iterations[g[-1]]),
            float(values[g].max()),
            float(usual[g[0] - around]),
        )
        for g in groups
    )


def swings(values: Floats, lag: int) -> bool:
    """Does the level go up and down by half and more, again and again, in the last two thirds of the run?"""
    values = values[len(values) // 3 :]
    width = max(lag, -(-len(values) // _BLOCKS))
    count = len(values) // width
    if count < _BLOCKS // 3 or np.any(values <= 0):
        return False
    shares = np.log(values)
    level = np.median(shares[: count * width].reshape(count, width), axis=1)
    least = max(math.log(1.5), _SURE * 1.25 * noise_of(shares, lag) / math.sqrt(width / lag))
    turns, low, high = 0, float(level[0]), float(level[0])
    rising: bool | None = None
    for value in level[1:].tolist():
        low, high = min(low, value), max(high, value)
        up = value > low + least
        if (up and rising is not True) or (value < high - least and rising is not False):
            turns, rising = turns + 1, up
            low = high = value
    return turns > _SWINGS
