"""Levels of a loss, their noise, and the trend of the loss while training was healthy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.diagnosis.robust_stats import SIGMA, Floats, Ints

_LONGEST, _DISPLAYS, _LEAST = 500, 10, 8  # iterations before a break that tell its trend, or displays; at least
_SHARE = 3  # the last third of a restart tells its level, and a display interval at the least
_MEDIAN = 1.2533  # standard error of a median in that of a mean, of normal noise
_CLEAR = 2.5  # standard errors by which the best of a few levels differs from others by chance


@dataclass(frozen=True)
class Trend:
    """The line on which a healthy loss lay before iteration `at`.

    Attributes:
        level: at `at`.
        slope: of the logarithm of the loss, an iteration: that of a loss that falls, or 0.
        noise: standard deviation of a loss around the line, at `at`.
        span: iterations that tell it.
    """

    at: int
    level: float
    slope: float
    noise: float
    span: int

    @property
    def error(self) -> float:
        """By how much its level may be off by chance."""
        return self.error_over(self.span)

    def error_over(self, count: int) -> float:
        """Return by how much the median of `count` losses that go on as before may be off by chance."""
        return _CLEAR * _MEDIAN * self.noise / math.sqrt(max(1, count))

    def expected(self, iteration: int) -> float:
        """Return the level to expect at a later iteration: a loss flattens, so half of the slope, and not for long."""
        return self.level * math.exp(self.slope / 2 * min(max(iteration - self.at, 0), self.span))


@dataclass(frozen=True)
class Healthy:
    """What training was like while it was healthy: the trend of its loss, and the outputs of its last test pass."""

    trend: Trend
    test: Mapping[str, float] = field(default_factory=dict)


def healthiest(stretches: Iterable[Healthy | None], iteration: int) -> Healthy | None:
    """Return the stretch of a training whose trend leads to the lowest loss at `iteration`; None without any.

    The loss before a break may have left its trend already: where what breaks it acts slowly, and where an earlier
    break was not got past entirely. Long before a break, training may not have learned yet.
    """
    known = [healthy for healthy in stretches if healthy is not None]
    return min(known, key=lambda healthy: healthy.trend.expected(iteration), default=None)


def trend_of(iterations: Ints, loss: Floats, at: int, display: int) -> Trend | None:
    """Fit the trend of the losses before iteration `at`, by the median of the slopes between all pairs (Theil-Sen).

    A slope that may be 0 by chance counts as 0, and so does one that rises: the loss before a break may already leave
    its trend. None where too few losses are finite.

    Args:
        iterations, loss: (T,) as recorded.
        display: iterations between two displays, 0 for none.
    """
    from scipy.stats import theilslopes  # takes a while to import

    before = (iterations < at) & (iterations >= at - max(_LONGEST // 2, min(_DISPLAYS * display, _LONGEST)))
    before &= np.isfinite(loss)
    x, y = iterations[before].astype(np.float64), loss[before]
    if len(y) < _LEAST:
        return None
    slope = 0.0
    if y.min() > 0:
        fit = theilslopes(np.log(y), x, 0.95)
        slope = float(fit.slope) if fit.high_slope < 0 else 0.0
    shape = np.exp(slope * (x - at))
    at_end = y / shape  # the noise of a loss that falls does as well
    level = float(np.median(at_end))
    noise = SIGMA * float(np.median(np.abs(at_end - level)))
    return Trend(at, level, slope, noise, int(at - x[0]))


def level_of(loss: Sequence[float] | Floats, display: int) -> float:
    """Return the median of the last losses of a restart: those of a third of it, and of a display at the least.

    Infinite where they are not finite, or there are none.
    """
    last = end_of(loss, display)
    return float(np.median(last)) if last.size and np.isfinite(last).all() else math.inf


def noise_of(loss: Sequence[float] | Floats, display: int) -> tuple[float, float]:
    """Return by how much such a level may be too high, and too low, by chance."""
    return error_of(end_of(loss, display))


def end_of(loss: Sequence[float] | Floats, display: int) -> Floats:
    """Return the last losses, which tell the level."""
    values = np.asarray(loss, np.float64)
    return values[-max(1, display, len(values) // _SHARE) :]


def error_of(values: Floats) -> tuple[float, float]:
    """Return by how much the median of values may be too high, and too low, by chance; in 1 of 80 cases it is by more.

    The interval is that of the sign test, which holds for skewed values as well: single losses often are.
    """
    finite = np.sort(values[np.isfinite(values)])
    if not finite.size:
        return 0.0, 0.0
    outside = max(0, math.floor(finite.size / 2 - _CLEAR * math.sqrt(finite.size) / 2))
    centre = float(np.median(finite))
    return centre - float(finite[outside]), float(finite[-1 - outside]) - centre
