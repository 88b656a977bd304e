"""Find where a series of displays rises for good."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from harness.diagnosis.departures import EXPLODED, FLOOR, OFTEN, PLAIN, Departure, has_exploded, last_departure, stays
from harness.diagnosis.logged.levels import lag_of, noise_of, relative_noise, running_median
from harness.diagnosis.robust_stats import Floats, Ints

# Of all that a total has fallen: a smaller rise is none. What a net gains on easy data for a while, it loses with them.
FALLEN = 0.1
_GROWS = 3.0  # factor between the level at the end and the one just after the rise: no plateau
_SCALES = (3, 6, 12, 24, 48, 96, 192)  # displays whose median is a level: short plateaus, and those deep in noise
_MOST = 20_000  # levels that are examined; more displays than that are grouped
_NEAR = 10  # displays that make the baseline before a rise
_QUIET = 100  # displays before a growth, of which those near the best level make the baseline
_LONG = 40  # displays whose noise is known to a tenth
_PASSES = 3
_ODDS = 3.5  # standard deviations of Mann and Whitney's U: one in 4000, as many places are tried
_CLEAR = 4.0  # times as far as the level wanders: a level that has been as high, once or twice, was on an excursion
_MANY = 30  # levels from which that is known
_LAST, _FORGET = 5, 60  # displays after a rise, and before it, whose noise may have long tails that are not known
_ALIKE = 0.1  # relative range of a plateau
_TAILS = 3.0  # standard deviations of the logarithm
_WANDERS = 8  # levels from which it is known how far they wander


@dataclass(frozen=True)
class Rise:
    """A rise for good: from display `row`, that of `iteration`, on the values are higher, and never come back.

    Attributes:
        full: the first display whose mean has none of the losses before `row`.
        best: the lowest level before.
        good, bad: the levels just before and just after.
        noise: a standard deviation of single displays before; NaN where there are too few.
        sudden: half of the whole rise was done at once.
        certain: noise cannot have made it; where the displays are too few to know noise, that takes PLAIN.
        grows: there is no plateau, it keeps rising.
    """

    iteration: int
    row: int
    full: int
    best: float
    good: float
    bad: float
    noise: float
    sudden: bool
    certain: bool
    grows: bool


def find_rise(iterations: Ints, values: Floats, span: int, least: float, lag: int | None = None) -> Rise | None:
    """Find where the values rise for good; None if they do not.

    The lowest level after the rise must lie above the best level before it by the share `least` of that, by what noise
    can do, and by what the level has wandered before.

    Args:
        iterations: (N,) of the displays, ascending.
        values: (N,) finite.
        span: iterations that each value is the mean over.
        least: 0.33 where nothing else is known.
        lag: displays between two that are independent, where `span` does not determine it.
    """
    lag = lag_of(iterations, span) if lag is None else lag
    few = not math.isfinite(relative_noise(values, lag))
    for scale in [1] if few else [w for w in _SCALES if w == 3 or 4 * w <= len(values)]:
        found = _rise_at(values, scale, least, lag)
        if found is None:
            continue
        # half of the way up to what has grown without bound would be late
        shown = np.minimum(values, found.top)
        row = _row(iterations, shown, span, found)
        before_it = values[min(found.settled, row - 1) : row]
        if few or (apart(before_it, values[row:], lag) and _is_beyond_tails(before_it, values[row:])):
            few = few or (len(before_it) <= _LAST and len(values) < _FORGET and not _is_plateau(values[row:]))
            return rise_at(iterations, values, span, row, found.best, not few or _is_plain(iterations, values, row))
    return None


def _is_plain(iterations: Ints, values: Floats, row: int) -> bool:
    """Check whether two displays or more are all far above the two before them, or farther above a single one."""
    if row < 1 or len(values) < row + 2 or not stands_out(iterations, values, row):
        return False
    baseline, times = float(values[max(row - 2, 0) : row].max()), PLAIN if row > 1 else EXPLODED
    return baseline > FLOOR / PLAIN and bool(values[row:].min() >= times * baseline)


def _is_beyond_tails(before: Floats, after: Floats) -> bool:
    """Check whether the last displays of a short log lie beyond what skewed noise of those before reaches.

    Two or three of a dozen are often the highest; in logarithms, noise of every kind is nearly symmetric.
    """
    if len(after) > _LAST or not _LAST < len(before) < _FORGET or min(before.min(), after.min()) <= 0:
        return True
    if _is_plateau(after):
        return True
    shares = np.log(before)
    return bool(np.median(np.log(after)) - np.mean(shares) > _TAILS * np.std(shares, ddof=1))


def _is_plateau(values: Floats) -> bool:
    """Check whether at least three values are all alike, but for the first, which may be a transient."""
    return any(len(part) > 2 and float(np.ptp(part)) < _ALIKE * float(np.median(part)) for part in (values, values[1:]))


def stands_out(iterations: Ints, values: Floats, row: int) -> bool:
    """Check whether the values stayed below those from display `row` on, once they had fallen below them.

    Noisy losses do not. An excerpt from the middle of a run must begin below them, and with more than one display.
    """
    high = values[:row] >= values[row:].min()
    settled = int(np.argmin(high))
    begins = len(iterations) < 2 or iterations[0] <= iterations[1] - iterations[0]
    if high[settled:].any() or not (begins or (row > 1 and settled == 0)):
        return False
    return _is_beyond_tails(values[settled:row], values[row:])


@dataclass(frozen=True)
class _Found:
    """Displays: the first near the `best` level, the last at it, and one when the rise is over.

    `top` is that of the departure.
    """

    settled: int
    lowest: int
    over: int
    best: float
    top: float


def _rise_at(values: Floats, scale: int, least: float, lag: int) -> _Found | None:
    step = max(1, len(values) // _MOST)
    coarse = np.median(values[: len(values) // step * step].reshape(-1, step), axis=1) if step > 1 else values
    if len(coarse) < 3:
        return None
    past = running_median(coarse, scale)
    future = running_median(coarse[::-1], scale)[::-1]
    best = np.minimum.accumulate(past)
    found = _departure(coarse, scale, least, lag, past, future)
    if found is None:
        return None
    settled = _settled(past[: found.first + 1], best[: found.first + 1])
    lifted, above = found.end - found.best, (past - best)[settled : found.first + 1]
    high = stays(past[settled:], replace(found, last=found.last - settled))
    if len(past) >= _MANY and 0 < len(high) < OFTEN and lifted > _CLEAR * np.quantile(above[above <= lifted / 2], 0.9):
        settled += int(high[-1, 1])  # it has returned from there: that is no part of the baseline
    elif scale > 1 and lifted < _wandered(above):
        return None
    lowest = int(np.flatnonzero(past[: found.last + 1] <= found.best)[-1])
    over = min((found.last + 1 + scale // 2) * step, len(values) - 1)
    return _Found(settled * step, lowest * step, over, found.best, found.top)


def _departure(coarse: Floats, scale: int, least: float, lag: int, past: Floats, future: Floats) -> Departure | None:
    """Find the last departure by levels `past` and `future` of `scale` displays, beyond what their noise can do."""
    relative, best = relative_noise(coarse, lag), np.minimum.accumulate(past)
    known = math.isfinite(relative)
    # of a few displays only what is plain counts: back up by half of what it had fallen, and twice as high
    least = least if known else max(least, 1.0)
    fallen = (FALLEN if known else 0.5) * np.maximum(float(past[0]) - best, 0)
    found = None
    for _ in range(_PASSES):
        # the lowest of many is low by chance, and the noise of few is not well known
        sure = (4 + math.sqrt(2 * math.log(len(coarse)))) * (1 + 8 / len(coarse))
        sure *= relative / math.sqrt(max(scale / lag, 1)) if known else 0
        margin = np.maximum(max(least, sure) * np.maximum(np.abs(best), FLOOR), fallen)
        # one display is an excursion, and so are all whose mean it is in; a plateau takes more
        margin[max(len(coarse) - lag - 1, 0) :] = np.inf
        found = last_departure(past, future, margin, reach=lag - 1)
        if found is None:
            break
        # a plateau without noise must not hide the noise before it
        before = relative_noise(coarse[: found.last + 1], lag)
        if not math.isfinite(before) or before <= 1.05 * relative:
            break
        relative = before
    return found


def _settled(level: Floats, best: Floats) -> int:
    """Return the row of the first level that is nearly the best."""
    settled = np.flatnonzero(best <= best[-1] + 0.05 * max(float(best[0] - best[-1]), 0.0))[0]
    return min(int(settled), len(level) // 2)


def _wandered(above: Floats) -> float:
    """Return how far the level has been above its best before: a healthy one that wanders may do so again."""
    return 2 * float(np.quantile(above, 0.9)) if len(above) >= _WANDERS else 0.0


def apart(before: Floats, after: Floats, lag: int) -> bool:
    """Check whether the displays after are higher than those before, by rank, because skewed noise has far outliers."""
    m, n = max(len(before) / lag, 1.0), max(len(after) / lag, 1.0)
    share = float(np.searchsorted(np.sort(before), after).mean()) / len(before)
    return share >= min(0.5 + _ODDS * math.sqrt((m + n + 1) / (12 * m * n)), 0.98)


def _row(iterations: Ints, values: Floats, span: int, found: _Found) -> int:
    """Return the first display of a rise."""
    lowest, over, best = found.lowest, found.over, found.best
    after = values[over : over + 2 * _NEAR]
    bad = float(np.median(after))
    limit = (best + bad) / 2
    if span == 1 and len(after) >= _NEAR - 2:
        # single losses of a healthy net may be as high, but not all of them
        limit = max(limit, bad - max(6 * noise_of(after), 0.1 * (bad - best)))
    # as few highs before it and lows behind it as can be
    balance = np.append(0, np.cumsum(np.where(values[lowest : over + 1] > limit, 1, -1)))
    half = max(min(lowest + int(np.flatnonzero(balance == balance.min())[-1]), len(values) - 1), 1)
    # a mean over many losses climbs over several displays
    reach = lag_of(iterations, span) + 1 if span > 1 else 0
    return foot(iterations, values, half, bad, reach)


def foot(iterations: Ints, values: Floats, row: int, bad: float, reach: int) -> int:
    """Return the first display that is lifted on the way up to display `row`, at most `reach` before it."""
    half = row
    good, noise = before(iterations, values, row)
    # of ten displays the noise may be small by chance
    longer = noise_of(values[max(0, row - _LONG) : row]) if row > _NEAR else math.nan
    while row > 1 and half - row < reach and values[row - 1] > good + _least(np.fmax(noise, longer), bad - good):
        row -= 1
        good, noise = before(iterations, values, row)
    return row


def _least(noise: float, lifted: float) -> float:
    """Return how far above the baseline a display must lie for bad losses to be in it."""
    return max(5 * noise, 0.02 * lifted) if math.isfinite(noise) else 0.2 * lifted


def rise_at(iterations: Ints, values: Floats, span: int, row: int, best: float, certain: bool) -> Rise:
    """Return the rise that begins at display `row`."""
    full = row
    while full < len(values) - 1 and iterations[full] < iterations[row] + span - 1:
        full += 1
    good, noise = before(iterations, values, row)
    after = values[full : full + 2 * _NEAR]
    exploded = has_exploded(values, best)
    end = float(np.median(values[-max(len(values) // 10, 3) :]))
    grows = exploded and len(after) >= 4 and bool(end > _GROWS * np.median(after[:_NEAR]))
    if grows:
        # the displays just before belong to the growth already
        quiet = values[max(0, row - _QUIET) : row]
        good = float(np.median(quiet[quiet <= 2 * max(best, FLOOR)])) if quiet.min() <= 2 * max(best, FLOOR) else best
    return Rise(
        iteration=int(iterations[row]),
        row=row,
        full=full,
        best=best,
        good=good,
        bad=float(np.median(after)),
        noise=noise,
        sudden=exploded or _is_sudden(values, full, good),
        certain=certain,
        grows=grows,
    )


def before(iterations: Ints, values: Floats, row: int) -> tuple[float, float]:
    """Return the level and the noise of the displays just before `row`."""
    first = max(0, row - _NEAR)
    gaps = np.diff(iterations[first:row])
    if len(gaps):
        # in an excerpt of a log, displays from long before mean little
        interval = min(int(gaps.min()), int(iterations[row] - iterations[row - 1]))
        torn = np.flatnonzero(gaps > 20 * interval)
        first = first + int(torn[-1]) + 1 if len(torn) else first
    near = values[first:row]
    return float(np.median(near[-5:])), noise_of(near)


def _is_sudden(values: Floats, full: int, good: float) -> bool:
    """Check whether half of the whole rise was done at once."""
    at_once = float(np.median(values[full : full + 5])) - good
    return at_once >= 0.5 * (float(np.median(values[-max(len(values) // 10, 5) :])) - good)
