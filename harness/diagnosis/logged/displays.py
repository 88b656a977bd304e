"""The displays of the total loss, and how many losses each of them is the mean of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.caffe_files.log_header import LogHeader
from harness.diagnosis.logged.levels import lag_of, noise_of
from harness.diagnosis.robust_stats import Floats, Ints

_TWO_NOISES = 60  # displays from which the noise of means can be compared with that of single losses: each to a tenth


@dataclass(frozen=True)
class Displays:
    """The displays of the total loss.

    Attributes:
        values: as displayed.
        single: the loss of each iteration alone, from the outputs; NaN where the log does not show them.
        interval: iterations between displays.
        start: the iteration that the run began with.
    """

    iterations: Ints
    values: Floats
    single: Floats
    interval: int
    start: int


@dataclass(frozen=True)
class AverageSpan:
    """The number of losses that a displayed one is the mean of.

    `assumed`: the log does not state it. Then it is the display interval, or was `estimated` from the noise.
    """

    size: int
    assumed: bool
    estimated: bool = False


def display_interval(iterations: Ints, header: LogHeader) -> int:
    """Return the iterations between two displays, which are at its multiples (Solver::Step)."""
    if header.display:
        return header.display
    common = int(np.gcd.reduce(iterations)) if len(iterations) else 0
    gaps = np.diff(iterations)
    return max(common or int(gaps.min(initial=1)), 1)


def average_span(displays: Displays, header: LogHeader) -> AverageSpan:
    """Return the solver's average_loss, or infer it from the displays.

    It is 1 if the total equals the weighted sum of the outputs at every display. Otherwise it is taken to be the
    display interval, as in most solvers, unless the noise of the means shows another order of magnitude.
    """
    if header.average_loss is not None:
        return AverageSpan(header.average_loss, False)
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
    """Estimate the losses in a mean from how much less noisy it is than a single one; NaN where that is impossible."""
    size = math.nan
    lag = lag_of(iterations, 1)
    while 4 * lag < len(means):
        noise = noise_of(means, lag)
        size = (noise_of(singles, lag) / noise) ** 2 if noise > 0 else math.nan
        # means that share losses differ less than their number suggests
        wanted = lag_of(iterations, round(size)) if math.isfinite(size) else lag
        if wanted <= lag:
            break
        lag = wanted
    return size
