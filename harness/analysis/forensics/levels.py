"""Levels of a noisy series of displays, and where they rise for good."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Of all that a total has fallen: a rise by less is none. What a net gains on easy data for a while, it loses with them.
FALLEN = 0.1
_SIGMA = 1.4826  # standard deviations in a MAD, of normal noise
_MOST = 20_000  # levels that are looked at; more displays than that are taken together
_NEAR = 10  # displays that say what was usual before a rise
_PASSES = 3
_FEW = 8  # displays below which there is no noise to be known


@dataclass(frozen=True)
class Rise:
    """From display `row`, that of `iteration`, on the values are higher than before, and never come back.

    `best` is the lowest level before, `good` that just before, `bad` that just after it, `noise` a standard deviation
    of single displays before (NaN: too few). `full` is the first display whose mean has none of the losses before
    `row`.
    """

    iteration: int
    row: int
    full: int
    best: float
    good: float
    bad: float
    noise: float
    sudden: bool


def running_median(values: Floats, count: int) -> Floats:
    """(N,) the median of each value and the `count` - 1 before it; the first ones get that of the first `count`."""
    count = min(count, len(values))
    if count <= 1:
        return values
    medians = np.median(np.lib.stride_tricks.sliding_window_view(values, count), axis=1)
    return np.concatenate((np.full(count - 1, medians[0]), medians))


def block_medians(values: Floats, size: int) -> Floats:
    """The median of each whole block of `size` values; of all, where there is none."""
    whole = len(values) // size * size
    return np.median(values[:whole].reshape(-1, size), axis=1) if whole else np.array([np.median(values)])


def noise_of(values: Floats, lag: int = 1) -> float:
    """Standard deviation of single values about their trend, NaN where there are too few; values closer than `lag`
    displays share losses that they are means of."""
    if len(values) < 2 * lag + 1:
        return math.nan
    return float(_SIGMA * np.median(np.abs(_bends(values, lag))))


def _bends(values: Floats, lag: int) -> Floats:
    """How far each value lies off the middle of its neighbours, scaled to the deviation of one: no slope is in it."""
    return np.asarray((values[lag:-lag] - (values[: -2 * lag] + values[2 * lag :]) / 2) / math.sqrt(1.5))


def lag_of(iterations: Ints, window: int) -> int:
    """How many displays lie between two means over `window` losses that share none."""
    return math.ceil(window / max(float(np.median(np.diff(iterations))), 1.0)) if len(iterations) > 1 else 1


def correlated(values: Floats) -> int:
    """How many displays lie between two that know nothing of each other, by the values themselves: a mean that shares
    losses with the next, or a level that wanders, differs the more the farther apart."""
    lag = 1
    while 16 * lag < len(values) and noise_of(values, 2 * lag) > 1.2 * noise_of(values, lag):
        lag *= 2
    return lag


def find_rise(iterations: Ints, values: Floats, window: int, least: float, lag: int | None = None) -> Rise | None:
    """Where the values rise for good, or None.

    The lowest level after it must lie above the best level before it by the share `least` of that, by what noise can
    do, and by what the level has wandered before.

    Args:
        iterations: (N,) of the displays, ascending.
        values: (N,) finite.
        window: how many iterations each value is a mean of.
        least: 0.33 where nothing else is known.
        lag: displays between two that know nothing of each other, where `window` does not tell.
    """
    lag = lag_of(iterations, window) if lag is None else lag
    for scale in _scales(len(values)):
        found = _rise_at(values, scale, least, lag)
        if found is not None:
            return _dated(iterations, values, window, *found)
    return None


def _scales(count: int) -> list[int]:
    """Displays whose median is a level: small ones see short plateaus, large ones see through noise."""
    if count < _FEW:
        return [1]
    return [w for w in (3, 6, 12, 24, 48, 96, 192) if w == 3 or 4 * w <= count]


def _rise_at(values: Floats, scale: int, least: float, lag: int) -> tuple[int, int, float] | None:
    """The display of the best level before the rise, one when the rise is over, and the best level."""
    step = max(1, len(values) // _MOST)
    coarse = np.median(values[: len(values) // step * step].reshape(-1, step), axis=1) if step > 1 else values
    if len(coarse) < 3:
        return None
    past = running_median(coarse, scale)
    future = running_median(coarse[::-1], scale)[::-1]
    best = np.minimum.accumulate(past)
    after = np.minimum.accumulate(future[::-1])[::-1]
    many, start = len(coarse) >= _FEW, float(past[0])
    # of a few displays only what is plain counts: back up by half of what it had fallen, and twice as high
    least = least if many else max(least, 1.0)
    relative = relative_noise(coarse, lag)
    with np.errstate(over="ignore"):
        lifted = after[1:] - best[:-1]
    for _ in range(_PASSES):
        # the lowest of many is low by chance, and the noise of few is not well known
        sure = (5 + math.sqrt(2 * math.log(len(coarse)))) * (1 + _FEW / len(coarse))
        sure *= relative / math.sqrt(max(scale / lag, 1))
        fallen = (FALLEN if many else 0.5) * np.maximum(start - best, 0)
        margin = np.maximum(max(least, sure) * np.abs(best), fallen) + 1e-12
        # one display is an excursion, and so are all whose mean it is in; a plateau takes more
        rows = np.flatnonzero((lifted > margin[:-1])[: max(len(coarse) - lag - 1, 0)])
        if not len(rows):
            return None
        # where it is plain may be later than where it is sure
        plain = np.flatnonzero(lifted[rows] >= 0.5 * lifted[rows].max())
        row = int(rows[plain[0]])
        # a plateau without noise must not hide the noise before it
        before = relative_noise(coarse[: row + 1], lag)
        if before <= 1.05 * relative:
            break
        relative = before
    if many and lifted[row] < _wandered(past[: rows[0] + 1], best[: rows[0] + 1]):
        return None
    lowest = int(np.flatnonzero(past[: row + 1] <= best[row])[-1])
    return lowest * step, min((row + 1 + scale // 2) * step, len(values) - 1), float(best[row])


def relative_noise(values: Floats, lag: int = 1) -> float:
    """The noise of one display as a share of its level, over the whole series; 0 where there are too few."""
    if len(values) < _FEW + 2 * lag:
        return 0.0
    level = np.abs(running_median(values, 5))[lag:-lag]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(_bends(values, lag)) / level
    ratio = ratio[np.isfinite(ratio)]
    return float(_SIGMA * np.median(ratio)) if len(ratio) else 0.0


def _wandered(level: Floats, best: Floats) -> float:
    """How far the level has lain above its best before: a healthy one that wanders may do so again."""
    settled = np.flatnonzero(best <= best[-1] + 0.05 * max(float(best[0] - best[-1]), 0.0))[0]
    settled = min(int(settled), len(level) // 2)
    above = (level - best)[settled:]
    return 2 * float(np.quantile(above, 0.9)) if len(above) >= _FEW else 0.0


def _dated(iterations: Ints, values: Floats, window: int, lowest: int, over: int, best: float) -> Rise:
    after = values[over : over + 2 * _NEAR]
    bad = float(np.median(after))
    limit = (best + bad) / 2
    if window == 1 and len(after) >= _FEW:
        # single losses of a healthy net may be as high, but not all of them as one
        limit = max(limit, bad - max(6 * noise_of(after), 0.1 * (bad - best)))
    # as few highs before it and lows behind it as can be
    balance = np.append(0, np.cumsum(np.where(values[lowest : over + 1] > limit, 1, -1)))
    half = max(min(lowest + int(np.flatnonzero(balance == balance.min())[-1]), len(values) - 1), 1)
    row, reach = half, lag_of(iterations, window) + 1 if window > 1 else 0
    good, noise = before(iterations, values, row)
    # a mean over many losses climbs over several displays
    while row > 1 and half - row < reach and values[row - 1] > good + _least(noise, bad - good):
        row -= 1
        good, noise = before(iterations, values, row)
    return rise_at(iterations, values, window, row, best)


def rise_at(iterations: Ints, values: Floats, window: int, row: int, best: float) -> Rise:
    """What there is to say of a rise that begins at display `row`."""
    full = row
    while full < len(values) - 1 and iterations[full] < iterations[row] + window - 1:
        full += 1
    good, noise = before(iterations, values, row)
    bad = float(np.median(values[full : full + 2 * _NEAR]))
    return Rise(int(iterations[row]), row, full, best, good, bad, noise, _is_sudden(values, full, good))


def _least(noise: float, lifted: float) -> float:
    """How far a display must lie above the usual for bad losses to be in it."""
    return max(5 * noise, 0.02 * lifted) if math.isfinite(noise) else 0.2 * lifted


def before(iterations: Ints, values: Floats, row: int) -> tuple[float, float]:
    """The usual value and its noise in the displays just before `row`."""
    first = max(0, row - _NEAR)
    gaps = np.diff(iterations[first:row])
    if len(gaps):
        # an excerpt of a log: what was displayed long before says little
        usual = min(int(gaps.min()), int(iterations[row] - iterations[row - 1]))
        torn = np.flatnonzero(gaps > 20 * usual)
        first = first + int(torn[-1]) + 1 if len(torn) else first
    near = values[first:row]
    return float(np.median(near[-5:])), noise_of(near)


def _is_sudden(values: Floats, full: int, good: float) -> bool:
    """Was half of the whole rise done at once?"""
    at_once = float(np.median(values[full : full + 5])) - good
    return at_once >= 0.5 * (float(np.median(values[-max(len(values) // 10, 5) :])) - good)
