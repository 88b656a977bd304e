"""Find losses that leap with a regular period, as where records are read class by class, or file by file."""

from __future__ import annotations

import math

import numpy as np

from harness.diagnosis.logged.course import Leaps
from harness.diagnosis.logged.displays import Displays
from harness.diagnosis.robust_stats import Floats, Ints

_FEWEST = 12  # displays
_PERIODS = 2.5  # that must be in the log
_ALIKE = 0.6  # correlation of displays one period, and two periods, apart
_SURE = 4.0, 2.5  # standard errors by which these differ from 0
_NEARLY = 0.75  # of the best correlation: displays may fall between the leaps
_SMOOTH = 0.5  # correlation of neighbours: a period has a course, and is not noise that is repeated
_REPEATED = 0.98  # correlation of losses that are the same in every period
_LEAPS = 1.7, 3.0, 1.05  # high level / low level: with a course, without, and for a run that has learned nothing
_FALLEN = 0.7  # of its start, the level of a run that has learned
_TENTH = 10.0  # percent of the displays of a period that make its low and its high level
_PHASES = 48  # parts of a period whose levels are compared
_MOST = 1 << 16  # displays that are examined


def find_leaps(displays: Displays) -> Leaps | None:
    """Find a period of the losses of a run, from its first tenth on; None if there is none.

    The losses of single iterations show it better than means over many.
    """
    found = [_leaps_of(displays.iterations, values) for values in (displays.single, displays.values)]
    return max((leaps for leaps in found if leaps), key=lambda leaps: leaps.high / leaps.low, default=None)


def _leaps_of(iterations: Ints, values: Floats) -> Leaps | None:
    start = float(np.median(values[:3])) if len(values) else math.nan
    begin = max(len(values) // 10, len(values) - _MOST)
    iterations, values = iterations[begin:], values[begin:]
    gaps = np.diff(iterations)
    if len(values) < _FEWEST or not np.all(np.isfinite(values)) or np.any(values <= 0) or np.ptp(gaps) > 0:
        return None
    shares = np.log(values)
    rows = np.arange(len(values))
    slope, middle = np.polyfit(rows, shares, 1)
    shares = shares - (slope * rows + middle)
    alike = _correlations(shares)
    last = int(len(values) / _PERIODS)
    peaks = [
        lag
        for lag in range(2, last + 1)
        if alike[lag] >= _ALIKE and alike[lag] >= alike[lag - 1] and alike[lag] >= alike[lag + 1]
    ]
    # the correlation must be lost and come back: a level that wanders stays correlated for a while
    peaks = [
        lag
        for lag in peaks
        if alike[2 * lag] >= _ALIKE
        and alike[1:lag].min() < alike[lag] / 2
        and _errors(alike, lag) > _SURE[0]
        and _errors(alike, 2 * lag) > _SURE[1]
    ]
    if not peaks:
        return None
    best = max(alike[lag] for lag in peaks)
    lag = next(lag for lag in peaks if alike[lag] > _NEARLY * best)
    period = _refined(alike, lag)
    level = float(np.median(np.log(values)))
    low, high = _levels(shares, period, level)
    least = _LEAPS[0] if alike[1] > _SMOOTH else _LEAPS[1]
    if alike[lag] > _REPEATED and math.exp(level) > _FALLEN * start:
        least = _LEAPS[2]
    # a loss that falls in steps, one in each epoch, does not leap
    return (
        Leaps(round(period * int(gaps[0])), low, high) if high / low > max(least, math.exp(-2 * slope * lag)) else None
    )


def _correlations(values: Floats) -> Floats:
    """(N,) Return the correlation of the values with those so many displays later."""
    size = 1 << (2 * len(values) - 1).bit_length()
    spectrum = np.fft.rfft(values, size)
    sums = np.fft.irfft(spectrum * np.conj(spectrum), size)[: len(values)]
    squares = np.concatenate(([0.0], np.cumsum(values**2)))
    lags = np.arange(len(values))
    power = (squares[len(values) - lags] * (squares[-1] - squares[lags])) ** 0.5
    return np.asarray(np.divide(sums, power, out=np.zeros(len(values)), where=power > 1e-12))


def _errors(alike: Floats, lag: int) -> float:
    """Return by how many standard errors of Fisher's z a correlation differs from that of noise."""
    return math.atanh(min(float(alike[lag]), 0.9999)) * math.sqrt(max(len(alike) - lag - 3, 0))


def _refined(alike: Floats, lag: int) -> float:
    """Return the period to a fraction of a display, by the last of its multiples that is as alike."""
    period, times = float(lag), 1
    while (centre := round(period * 2 * times)) + 1 < len(alike) * 2 // 3:
        times *= 2
        near = range(max(centre - lag // 2, 2), min(centre + lag // 2 + 1, len(alike) - 1))
        at = max(near, key=lambda k: alike[k])
        if alike[at] < _ALIKE:
            break
        period = at / times
    return period


def _levels(shares: Floats, period: float, level: float) -> tuple[float, float]:
    """Return the low and the high level within a period: of a tenth of its phases each."""
    phases = np.floor(np.arange(len(shares)) / period % 1 * min(max(round(period), 2), _PHASES)).astype(int)
    medians = [float(np.median(shares[phases == phase])) for phase in np.unique(phases)]
    low, high = np.percentile(medians, (_TENTH, 100 - _TENTH)) if len(medians) > 2 else (min(medians), max(medians))
    return math.exp(level + float(low)), math.exp(level + float(high))
