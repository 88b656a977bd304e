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

from harness.diagnosis.log_facts import Facts
from harness.diagnosis.logged.findings import OnsetEstimate, Position
from harness.diagnosis.logged.levels import Floats, Ints, lag_of, noise_of
from harness.diagnosis.logged.rises import Rise, before, foot

_AFTER = 20  # displays that tell how alike the losses of a plateau are
_TWO_NOISES = 60  # displays from which a noise of means can be held against that of single losses: each to a tenth
_PARTLY = (0.04, 0.96)  # shares of bad losses between which a mean tells how many they are
_FALLS = 0.01  # of what it rises by later: so far falls a mean in two displays, in which bad losses may hide
_CLIMB = 40  # displays that a mean over losses of unknown number may take to climb
_GROWTH = 20.0, 4, 200  # times as high, to which the rate of a growth is read, from so many displays to so many


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
class AverageSpan:
    """How many losses a displayed one is the mean of. `assumed`: the log does not say; it is the display interval then,
    or was `estimated` from the noise."""

    size: int
    assumed: bool
    estimated: bool = False


def display_interval(iterations: Ints, facts: Facts) -> int:
    """Iterations between two displays: they are at its multiples (Solver::Step)."""
    if facts.display:
        return facts.display
    common = int(np.gcd.reduce(iterations)) if len(iterations) else 0
    gaps = np.diff(iterations)
    return max(common or int(gaps.min(initial=1)), 1)


def average_span(displays: Displays, facts: Facts) -> AverageSpan:
    """The solver's average_loss, else what the log gives away of it.

    With the total equal to the weighted sum of the outputs at every display, it is 1. Otherwise it is taken to be the
    display interval, as most solvers have it, unless the noise of the means says that it is something else altogether.
    """
    if facts.average_loss is not None:
        return AverageSpan(facts.average_loss, False)
    both = np.isfinite(displays.values) & np.isfinite(displays.single) & (displays.iterations > displays.start)
    means, singles = displays.values[both], displays.single[both]
    if len(means) >= 2 and np.allclose(means, singles, rtol=1e-4, atol=1e-6):
        return AverageSpan(1, False)
    if len(means) >= _TWO_NOISES:
        size = _size_by_noise(displays.iterations[both], means, singles)
        if size < displays.interval / 4 or size > displays.interval * 4:
            return AverageSpan(max(round(size), 2), True, True)
    return AverageSpan(max(displays.interval, 2 if len(means) else 1), True)


def _size_by_noise(iterations: Ints, means: Floats, singles: Floats) -> float:
    """Losses in a mean, as it is so much less noisy than a single one; NaN where that cannot be told."""
    size = math.nan
    lag = lag_of(iterations, 1)
    while 4 * lag < len(means):
        noise = noise_of(means, lag)
        size = (noise_of(singles, lag) / noise) ** 2 if noise > 0 else math.nan
        # means that share losses are more alike than their number says
        wanted = lag_of(iterations, round(size)) if math.isfinite(size) else lag
        if wanted <= lag:
            break
        lag = wanted
    return size


def date_rise(displays: Displays, rise: Rise, window: AverageSpan) -> tuple[int, OnsetEstimate]:
    """The first displayed iteration with a bad loss in it, and the first bad iteration."""
    blind = window.assumed and not np.any(np.isfinite(displays.single))
    if rise.grows:
        return _date_growth(displays, rise, window)
    row = rise.row if window.size == 1 and not blind else _first_bad_display(displays, rise)
    if blind:
        row = foot(displays.iterations, displays.values, row, rise.bad, _CLIMB)
    if row != rise.row:
        good, noise = before(displays.iterations, displays.values, row)
        rise = replace(rise, row=row, good=good, noise=noise)
    previous, jump = (int(i) for i in displays.iterations[row - 1 : row + 1])
    if not rise.bad > rise.good:  # what came before is not what it rose from: the displays alone tell
        return jump, _onset(displays, previous + 1, jump, jump, None, window)
    if blind:
        window = replace(window, size=max(window.size, _climb(displays, rise)))
    # so many bad losses may be at the end of its mean without showing
    noise = 3 * rise.noise if math.isfinite(rise.noise) else 0.0
    lifted = rise.bad - rise.good
    hidden = window.size * (max(displays.values[row - 1] - rise.good, 0) + noise) / lifted
    alone = displays.single[row - 1] if window.size > 1 else displays.values[row - 1]
    certain = not blind and (window.size == 1 or bool(alone < rise.good + lifted / 2))
    low = previous + 1 - (0 if certain else 1 + math.ceil(min(hidden, window.size)))
    if not certain and window.size > displays.interval:
        turn = _turn(displays.values, row)
        if displays.values[max(turn - 2, 0)] - displays.values[turn] > _FALLS * lifted:
            low = min(low, int(displays.iterations[turn - 1]) + 1)
    high = min(_last_possible(displays, rise, row, window), jump)
    partly = _counts(displays, rise, row if certain or blind else row - 1, window)
    estimate, tells = None, None
    if partly:
        estimate = round(float(np.median([d - m + 1 for d, m in partly])))
        tells = next((p for p in partly if p[0] == jump), partly[0])
    elif not window.assumed and window.size > 1:
        # all losses of the first bad display are bad
        full = max(jump - window.size + 1, low)
        estimate, tells = (low + full) // 2, (jump, float(window.size)) if full == low < high else None
    return jump, _onset(displays, low, high, jump, estimate, window, None if blind else tells)


def _onset(
    displays: Displays,
    low: int,
    high: int,
    jump: int,
    estimate: int | None,
    window: AverageSpan | None,
    tells: tuple[int, float] | None = None,
) -> OnsetEstimate:
    """The interval low … high cut to what can be, no later than the display `jump`, and the estimate in it, its middle
    where there is none. `tells`: a display, and how many of its losses are bad."""
    high = min(high, jump)
    low = min(max(low, displays.start), high)
    return OnsetEstimate(
        estimate=min(max((low + high) // 2 if estimate is None else estimate, low), high),
        low=low,
        high=high,
        window=window.size if window is not None and tells is not None else None,
        bad=tells[1] if tells is not None else None,
        assumed=window is not None and window.assumed,
        estimated=window is not None and window.estimated,
        at=tells[0] if tells is not None else None,
        likely=estimate is not None,
    )


def _date_growth(displays: Displays, rise: Rise, window: AverageSpan) -> tuple[int, OnsetEstimate]:
    """A loss that grows by the same factor again and again began to when it was at its usual level."""
    row, jump = rise.row, int(displays.iterations[rise.row])
    previous = int(displays.iterations[row - 1])
    times, fewest, most = _GROWTH
    values = displays.values[row : row + most]
    values = values[: max(int(np.argmax(values > times * values[0])) or most, fewest)]
    if rise.good <= 0 or values.min() <= 0:
        return jump, _onset(displays, previous + 1, jump, jump, None, window)
    slope, at_jump = np.polyfit(displays.iterations[row : row + len(values)] - jump, np.log(values), 1)
    gap = jump - previous
    if not slope > 0 or at_jump - slope * gap > math.log(2 * max(abs(displays.values[row - 1]), rise.good)):
        # the growth came after a step
        return jump, _onset(displays, previous + 1, jump, jump, None, window)
    noise = 3 * rise.noise / rise.good if math.isfinite(rise.noise) else 1.0
    began = jump - max((at_jump - math.log(rise.good)) / slope, 0.0)
    slack = min(math.log1p(noise) / slope, 10.0 * displays.interval) + window.size
    return jump, _onset(displays, min(math.floor(began - slack), previous + 1), jump, jump, round(began), window)


def _turn(values: Floats, row: int) -> int:
    """The display from which a mean goes up to display `row`: while it still falls, bad losses in it hide behind the
    higher ones that leave it."""
    while row > 2 and values[row - 2] < values[row - 1]:
        row -= 1
    return max(row - 1, 1)


def _climb(displays: Displays, rise: Rise) -> int:
    """Iterations from the first lifted display to the plateau: so many losses the mean must be of."""
    near = rise.bad - 0.05 * (rise.bad - rise.good)
    later = displays.values[rise.row : rise.row + _CLIMB]
    there = np.flatnonzero(later >= near)
    top = rise.row + (int(there[0]) if len(there) else len(later) - 1)
    return int(displays.iterations[top] - displays.iterations[rise.row])


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


def _last_possible(displays: Displays, rise: Rise, row: int, window: AverageSpan) -> int:
    """The first iteration known to be bad by itself; where outputs are not shown, the display that is lifted."""
    alone = displays.values if window.size == 1 else displays.single
    half = rise.good + (rise.bad - rise.good) / 2
    for later in range(row, min(rise.full, len(alone) - 1) + 1):
        if not alone[later] < half:
            return int(displays.iterations[later])
    return int(displays.iterations[row])


def _counts(displays: Displays, rise: Rise, row: int, window: AverageSpan) -> list[tuple[int, float]]:
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
        if later == row and share <= _PARTLY[0] and displays.single[row] > (rise.good + rise.bad) / 2:
            found.append((iteration, max(averaged * share, 1.0)))  # its own iteration is bad, if nothing else
        elif _PARTLY[0] < share < _PARTLY[1]:
            found.append((iteration, averaged * share))
    return found


def date_nans(displays: Displays, first: int) -> tuple[int | None, OnsetEstimate | None]:
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
    jump = int(displays.iterations[row])
    return jump, between(displays, row)


def between(displays: Displays, row: int) -> OnsetEstimate:
    """Somewhere after the display before `row`: a single loss dates itself."""
    jump = int(displays.iterations[row])
    return _onset(displays, int(displays.iterations[row - 1]) + 1, jump, jump, None, None)


def watch_window(onset: OnsetEstimate, interval: int) -> tuple[int, int]:
    """A round window A:B for `--watch` around the onset, at least a display interval on either side."""
    unit = 10 ** math.ceil(math.log10(interval)) if interval > 1 else 1
    start = (onset.low - interval) // unit * unit
    return max(start, 0), -(-(onset.high + interval) // unit) * unit


def position_of(onset: OnsetEstimate, facts: Facts, resumed: int) -> Position | None:
    """Where the iterations low … high of the onset lie in data that is read in order, from record 0 at `resumed` on."""
    if not facts.images or not facts.batch:
        return None
    records = facts.batch * (facts.iter_size or 1)
    first = max(onset.low - resumed, 0) * records
    stop = max(onset.high + 1 - resumed, 1) * records
    count = min(stop - first, facts.images)
    return Position(
        first / facts.images, first % facts.images, (stop - 1) % facts.images, count, resumed, count == facts.images
    )
