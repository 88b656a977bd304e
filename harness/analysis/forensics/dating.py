"""When a jump began, to the iteration, from a displayed loss that is a mean over many.

At the display of iteration D Caffe prints the mean of the losses of the iterations D - n + 1 … D, n = average_loss
(Solver::UpdateSmoothedLoss, solver.cpp), or of as many as there are since the run's start. If m of them are at the
level `bad` of the plateau and the others at the level `good` of before, the mean is good + m/n · (bad - good): so the
value of a partly bad mean tells m, and the first bad iteration is D - m + 1. The outputs of the net are of iteration D
alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from harness.analysis.forensics.findings import Onset, Position
from harness.analysis.forensics.levels import Floats, Ints, Rise, before, lag_of, noise_of
from harness.analysis.logfacts import Facts

_AFTER = 20  # displays that tell how alike the losses of a plateau are
_FEW = 60  # displays from which two noises can be compared
_PARTLY = (0.04, 0.96)  # shares of bad losses between which a mean tells how many they are


@dataclass(frozen=True)
class Displays:
    """What was displayed of the total. `single` is the loss of each iteration alone, from the outputs; NaN where the
    log does not show them. `interval`: iterations between displays; `start`: the iteration that the run began with."""

    iterations: Ints
    values: Floats
    single: Floats
    interval: int
    start: int


@dataclass(frozen=True)
class Window:
    """How many losses a displayed one is the mean of. `assumed`: the log does not say."""

    size: int
    assumed: bool


def display_interval(iterations: Ints, facts: Facts) -> int:
    """Iterations between two displays: they are at its multiples (Solver::Step)."""
    if facts.display:
        return facts.display
    common = int(np.gcd.reduce(iterations)) if len(iterations) else 0
    gaps = np.diff(iterations)
    return max(common or int(gaps.min(initial=1)), 1)


def window_of(displays: Displays, facts: Facts) -> Window:
    """The solver's average_loss, else what the log gives away of it.

    With the total equal to the weighted sum of the outputs at every display, it is 1. Otherwise it is taken to be the
    display interval, as most solvers have it, unless the noise of the means says that it is something else altogether.
    """
    if facts.average_loss is not None:
        return Window(facts.average_loss, False)
    both = np.isfinite(displays.values) & np.isfinite(displays.single) & (displays.iterations > displays.start)
    means, singles = displays.values[both], displays.single[both]
    if len(means) >= 2 and np.allclose(means, singles, rtol=1e-4, atol=1e-6):
        return Window(1, False)
    if len(means) >= _FEW:
        noise = noise_of(means, lag_of(displays.iterations[both], displays.interval))
        ratio = (noise_of(singles) / noise) ** 2 if noise > 0 else math.nan
        if ratio < displays.interval / 4 or ratio > displays.interval * 4:
            return Window(max(round(ratio), 2), True)
    return Window(max(displays.interval, 2 if len(means) else 1), True)


def date_rise(displays: Displays, rise: Rise, window: Window) -> tuple[int, Onset]:
    """The first displayed iteration with a bad loss in it, and the first bad iteration."""
    row = rise.row if window.size == 1 else _first_bad_display(displays, rise)
    if row != rise.row:
        good, noise = before(displays.iterations, displays.values, row)
        rise = replace(rise, row=row, good=good, noise=noise)
    previous = int(displays.iterations[row - 1])
    lifted = rise.bad - rise.good
    if lifted <= 0:  # what came before is not what it rose from: the displays alone tell
        jump = int(displays.iterations[row])
        return jump, Onset((previous + 1 + jump) // 2, previous + 1, jump, None, None, window.assumed)
    alone = displays.single[row - 1] if window.size > 1 else displays.values[row - 1]
    certain = window.size == 1 or alone < rise.good + lifted / 2
    # so many bad losses may be at the end of its mean without showing
    noise = 3 * rise.noise if math.isfinite(rise.noise) else 0.0
    hidden = window.size * (max(displays.values[row - 1] - rise.good, 0) + noise) / lifted
    low = max(previous + 1 - (0 if certain else 1 + math.ceil(min(hidden, window.size))), displays.start)
    high = _last_possible(displays, rise, row, window)
    partly = _counts(displays, rise, row if certain else row - 1, window)
    if partly:
        estimate = round(float(np.median([d - m + 1 for d, m in partly])))
        bad: float | None = partly[0][1]
    else:
        full = high if window.assumed or window.size == 1 else max(int(displays.iterations[row]) - window.size + 1, low)
        estimate, bad = (low + full) // 2, None
        if full == low < high:
            bad = float(window.size)
    return int(displays.iterations[row]), Onset(
        min(max(estimate, low), high), low, high, window.size if bad is not None else None, bad, window.assumed
    )


def _first_bad_display(displays: Displays, rise: Rise) -> int:
    """By the losses of single iterations, where those of the plateau are so alike that each tells whether it is bad: a
    mean may be lifted by what came before, or not be lifted yet."""
    after = displays.single[rise.full : rise.full + _AFTER]
    if not np.all(np.isfinite(after)):
        return rise.row
    noise = noise_of(after)
    lifted = rise.bad - rise.good
    limit = float(np.median(after)) - max(6 * noise if math.isfinite(noise) else 0.0, 0.1 * lifted)
    if limit < rise.good + lifted / 2:
        return rise.row
    row = rise.full
    while row > 1 and displays.single[row - 1] > limit:
        row -= 1
    return row


def _last_possible(displays: Displays, rise: Rise, row: int, window: Window) -> int:
    """The first iteration known to be bad by itself; where outputs are not shown, the display that is lifted."""
    alone = displays.values if window.size == 1 else displays.single
    half = rise.good + (rise.bad - rise.good) / 2
    for later in range(row, min(rise.full, len(alone) - 1) + 1):
        if not alone[later] < half:
            return int(displays.iterations[later])
    return int(displays.iterations[row])


def _counts(displays: Displays, rise: Rise, row: int, window: Window) -> list[tuple[int, float]]:
    """Displays whose mean is partly bad, and how many of its losses are."""
    if window.size == 1:
        return []
    found = []
    for later in range(row, min(max(rise.full, row + 1), len(displays.values))):
        iteration = int(displays.iterations[later])
        averaged = min(window.size, iteration - displays.start + 1)
        bad = rise.bad
        if later == row and displays.single[row] - rise.good > 2 * (bad - rise.good):
            bad = float(displays.single[row])  # it is far worse than the plateau, as the first of them may be
        share = float((displays.values[later] - rise.good) / (bad - rise.good))
        if later == row and share <= _PARTLY[0]:
            found.append((iteration, max(averaged * share, 1.0)))  # its own iteration is bad, if nothing else
        elif _PARTLY[0] < share < _PARTLY[1]:
            found.append((iteration, averaged * share))
    return found


def date_nans(displays: Displays, first: int) -> tuple[int | None, Onset | None]:
    """The same for a run that ends in NaN from display `first` on: with what it rose to just before."""
    if first == 0:
        return None, None
    row = first
    while row > 1:
        near = displays.values[max(0, row - 11) : row - 1]
        usual, noise = float(np.median(near)), noise_of(near)
        off = 6 * noise if math.isfinite(noise) else 0.0
        if not displays.values[row - 1] > usual + max(off, 0.5 * abs(usual)):
            break
        row -= 1
    low, high = int(displays.iterations[row - 1]) + 1, int(displays.iterations[row])
    return high, Onset((low + high) // 2, low, high, None, None, False)


def watch_window(onset: Onset, interval: int) -> tuple[int, int]:
    """A round window A:B for `--watch` around the onset, at least a display interval on either side."""
    unit = 10 ** math.ceil(math.log10(interval)) if interval > 1 else 1
    start = (onset.low - interval) // unit * unit
    return max(start, 0), -(-(onset.high + interval) // unit) * unit


def position_of(onset: Onset, facts: Facts, resumed: int) -> Position | None:
    """Where the iterations low … high of the onset lie in data that is read in order, from record 0 at `resumed` on."""
    if not facts.images or not facts.batch:
        return None
    records = facts.batch * (facts.iter_size or 1)
    first = max(onset.low - resumed, 0) * records
    stop = max(onset.high + 1 - resumed, 1) * records
    count = min(stop - first, facts.images)
    return Position(first / facts.images, first % facts.images, (stop - 1) % facts.images, count, resumed)
