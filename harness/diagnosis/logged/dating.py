"""Date a jump to the iteration, from a displayed loss that is a mean over many.

At the display of iteration D Caffe prints the mean of the losses of the iterations D - n + 1 … D, n = average_loss
(Solver::UpdateSmoothedLoss, solver.cpp), or of as many as there are since the run's start. If m of them are at the
level `bad` of the plateau and the others at the level `good` of before, the mean is good + m/n · (bad - good): the
value of a partly bad mean gives m, and the first bad iteration is D - m + 1. The outputs of the net are of iteration D
alone.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from harness.caffe_files.log_header import LogHeader
from harness.diagnosis.logged.displays import AverageSpan, Displays
from harness.diagnosis.logged.findings import OnsetEstimate, RecordRange
from harness.diagnosis.logged.levels import noise_of
from harness.diagnosis.logged.rises import Rise, before, foot
from harness.diagnosis.robust_stats import Floats
from harness.schemas.window import Window

_AFTER = 20  # displays that show the spread of a plateau
_PARTLY = (0.04, 0.96)  # shares of bad losses between which a mean shows how many there are
_FALLS = 0.01  # of its later rise: a mean that falls by more in two displays may hide bad losses
_CLIMB = 40  # displays that a mean over an unknown number of losses may take to climb
_GROWTH = 20.0, 4, 200  # the rate of a growth is fitted up to this factor, over at least and at most so many displays


Dated = tuple[int, OnsetEstimate]  # the first displayed iteration with a bad loss in it, and the onset


def date_rise(displays: Displays, rise: Rise, span: AverageSpan) -> Dated:
    """Date a rise of the total."""
    blind = span.assumed and not np.any(np.isfinite(displays.single))
    if rise.grows:
        return _date_growth(displays, rise, span)
    row = rise.row if span.size == 1 and not blind else _first_bad_display(displays, rise)
    if blind:
        row = foot(displays.iterations, displays.values, row, rise.bad, _CLIMB)
    if row != rise.row:
        good, noise = before(displays.iterations, displays.values, row)
        rise = replace(rise, row=row, good=good, noise=noise)
    previous, jump = (int(i) for i in displays.iterations[row - 1 : row + 1])
    if not rise.bad > rise.good:  # it did not rise from the level before: only the displays bound it
        return jump, _onset(displays, previous + 1, jump, jump, None, span)
    if blind:
        span = replace(span, size=max(span.size, _climb(displays, rise)))
    # so many bad losses may be at the end of the mean of the display before without showing
    noise = 3 * rise.noise if math.isfinite(rise.noise) else 0.0
    lifted = rise.bad - rise.good
    hidden = span.size * (max(displays.values[row - 1] - rise.good, 0) + noise) / lifted
    alone = displays.single[row - 1] if span.size > 1 else displays.values[row - 1]
    certain = not blind and (span.size == 1 or bool(alone < rise.good + lifted / 2))
    low = previous + 1 - (0 if certain else 1 + math.ceil(min(hidden, span.size)))
    if not certain and span.size > displays.interval:
        turn = _turn(displays.values, row)
        if displays.values[max(turn - 2, 0)] - displays.values[turn] > _FALLS * lifted:
            low = min(low, int(displays.iterations[turn - 1]) + 1)
    high = min(_last_possible(displays, rise, row, span), jump)
    partly = _counts(displays, rise, row if certain or blind else row - 1, span)
    estimate, evidence = None, None
    if partly:
        estimate = round(float(np.median([d - m + 1 for d, m in partly])))
        evidence = next((p for p in partly if p[0] == jump), partly[0])
    elif not span.assumed and span.size > 1:
        # all losses of the first bad display are bad
        full = max(jump - span.size + 1, low)
        estimate, evidence = (low + full) // 2, (jump, float(span.size)) if full == low < high else None
    return jump, _onset(displays, low, high, jump, estimate, span, None if blind else evidence)


def _onset(
    displays: Displays,
    low: int,
    high: int,
    jump: int,
    estimate: int | None,
    span: AverageSpan | None,
    evidence: tuple[int, float] | None = None,
) -> OnsetEstimate:
    """Return the interval low … high limited to what is possible, at most `jump`, with the estimate, else its middle.

    `evidence`: a display, and how many of its losses are bad.
    """
    high = min(high, jump)
    low = min(max(low, displays.start), high)
    return OnsetEstimate(
        estimate=min(max((low + high) // 2 if estimate is None else estimate, low), high),
        low=low,
        high=high,
        span=span.size if span is not None and evidence is not None else None,
        bad=evidence[1] if evidence is not None else None,
        assumed=span is not None and span.assumed,
        estimated=span is not None and span.estimated,
        at=evidence[0] if evidence is not None else None,
        likely=estimate is not None,
    )


def _date_growth(displays: Displays, rise: Rise, span: AverageSpan) -> Dated:
    """Date an exponential growth: it began where the fitted line is at the level of before."""
    row, jump = rise.row, int(displays.iterations[rise.row])
    previous = int(displays.iterations[row - 1])
    times, fewest, most = _GROWTH
    values = displays.values[row : row + most]
    values = values[: max(int(np.argmax(values > times * values[0])) or most, fewest)]
    if rise.good <= 0 or values.min() <= 0:
        return jump, _onset(displays, previous + 1, jump, jump, None, span)
    slope, at_jump = np.polyfit(displays.iterations[row : row + len(values)] - jump, np.log(values), 1)
    gap = jump - previous
    if not slope > 0 or at_jump - slope * gap > math.log(2 * max(abs(displays.values[row - 1]), rise.good)):
        # the growth came after a step
        return jump, _onset(displays, previous + 1, jump, jump, None, span)
    noise = 3 * rise.noise / rise.good if math.isfinite(rise.noise) else 1.0
    began = jump - max((at_jump - math.log(rise.good)) / slope, 0.0)
    slack = min(math.log1p(noise) / slope, 10.0 * displays.interval) + span.size
    return jump, _onset(displays, min(math.floor(began - slack), previous + 1), jump, jump, round(began), span)


def _turn(values: Floats, row: int) -> int:
    """Return the display from which a mean goes up to display `row`.

    While it still falls, bad losses in it may be hidden by higher ones that leave it.
    """
    while row > 2 and values[row - 2] < values[row - 1]:
        row -= 1
    return max(row - 1, 1)


def _climb(displays: Displays, rise: Rise) -> int:
    """Return the iterations from the first lifted display to the plateau: the mean is over at least so many losses."""
    near = rise.bad - 0.05 * (rise.bad - rise.good)
    later = displays.values[rise.row : rise.row + _CLIMB]
    there = np.flatnonzero(later >= near)
    top = rise.row + (int(there[0]) if len(there) else len(later) - 1)
    return int(displays.iterations[top] - displays.iterations[rise.row])


def _first_bad_display(displays: Displays, rise: Rise) -> int:
    """Find the first bad display by the losses of single iterations, if those of the plateau vary so little that each
    one shows whether it is bad. A mean may be lifted by what came before, or not be lifted yet."""
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


def _last_possible(displays: Displays, rise: Rise, row: int, span: AverageSpan) -> int:
    """Return the first iteration known to be bad by itself; where outputs are not shown, the display that is lifted."""
    alone = displays.values if span.size == 1 else displays.single
    half = rise.good + (rise.bad - rise.good) / 2
    for later in range(row, min(rise.full, len(alone) - 1) + 1):
        if not alone[later] < half:
            return int(displays.iterations[later])
    return int(displays.iterations[row])


def _counts(displays: Displays, rise: Rise, row: int, span: AverageSpan) -> list[tuple[int, float]]:
    """Return the displays whose mean is partly bad, and how many of its losses are bad."""
    if span.size == 1:
        return []
    found = []
    for later in range(row, min(max(rise.full, row + 1), len(displays.values))):
        iteration = int(displays.iterations[later])
        averaged = min(span.size, iteration - displays.start + 1)
        bad = rise.bad
        if later == row and displays.single[row] - rise.good > 2 * (bad - rise.good):
            bad = float(displays.single[row])  # far worse than the plateau, as the first bad losses may be
        share = float((displays.values[later] - rise.good) / (bad - rise.good))
        if later == row and share <= _PARTLY[0] and displays.single[row] > (rise.good + rise.bad) / 2:
            found.append((iteration, max(averaged * share, 1.0)))  # at least its own iteration is bad
        elif _PARTLY[0] < share < _PARTLY[1]:
            found.append((iteration, averaged * share))
    return found


def date_nans(displays: Displays, first: int) -> Dated | None:
    """Date a run that ends in NaN from display `first` on: from the rise just before, if there was one."""
    if first == 0:
        return None
    row = first
    while row > 1:
        near = displays.values[max(0, row - 11) : row - 1]
        level, noise = float(np.median(near)), noise_of(near)
        off = 6 * noise if math.isfinite(noise) else 0.0
        if not displays.values[row - 1] > level + max(off, 0.5 * abs(level)):
            break
        row -= 1
    jump = int(displays.iterations[row])
    return jump, between(displays, row)


def between(displays: Displays, row: int) -> OnsetEstimate:
    """Return an onset anywhere after the display before `row`: a single loss dates itself."""
    jump = int(displays.iterations[row])
    return _onset(displays, int(displays.iterations[row - 1]) + 1, jump, jump, None, None)


def watch_window(onset: OnsetEstimate, interval: int) -> Window:
    """Return a round window for `--watch` around the onset, with at least a display interval on either side."""
    unit = 10 ** math.ceil(math.log10(interval)) if interval > 1 else 1
    start = (onset.low - interval) // unit * unit
    return Window(max(start, 0), -(-(onset.high + interval) // unit) * unit)


def records_of(onset: OnsetEstimate, header: LogHeader, resumed: int) -> RecordRange | None:
    """Return the records that the iterations low … high of the onset read, in data that are read in order.

    None where the size of the data or of a batch is not known. The data begin with record 0 at iteration `resumed`.
    """
    if not header.images or not header.batch:
        return None
    records = header.batch * (header.iter_size or 1)
    first = max(onset.low - resumed, 0) * records
    stop = max(onset.high + 1 - resumed, 1) * records
    count = min(stop - first, header.images)
    return RecordRange(
        epoch=first / header.images,
        first=first % header.images,
        last=(stop - 1) % header.images,
        count=count,
        resumed=resumed,
        all=count == header.images,
    )
