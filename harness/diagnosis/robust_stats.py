"""Robust statistics: a baseline, and how far another value lies from it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SIGMA = 1.4826  # standard deviations in a median absolute deviation, of normal noise
LEAST_SPREAD = 0.15  # in logarithms: the least spread that the baseline of a gradient or an activation is taken to have
FAR = 5.0  # standard deviations beyond which a value has left its baseline


def median(values: Floats, axis: int = -1) -> Floats:
    """Compute what `np.median` does along the first or the last axis, in a third of its time where values are few."""
    count = values.shape[axis]
    if not count:
        return np.asarray(np.median(values, axis=axis))
    low, high = (count - 1) // 2, count // 2
    ordered = np.partition(values, (low, high, count - 1), axis=axis)  # NaN comes last
    lower, upper, last = (ordered[n] if axis == 0 else ordered[..., n] for n in (low, high, -1))
    middle = (lower + upper) / 2 if low < high else lower
    return np.asarray(np.where(np.isnan(last), np.nan, middle))


def total_norm(parts: Floats) -> Floats:
    """Compute the l2 norm of the whole gradient: (T,) from (T, P), the norms of its blobs, or () from (P,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(np.sum(np.square(parts), axis=-1)))


def logarithm(values: Floats) -> Floats:
    """Compute natural logarithms of magnitudes; zero counts as 1e-30."""
    with np.errstate(all="ignore"):
        return np.log(np.maximum(values, 1e-30))


def distance(baseline: Floats, now: Floats, least: float = LEAST_SPREAD) -> Floats:
    """Compute how many standard deviations `now` (…, P) lies above the median of `baseline` (n, P), column by column.

    `least` is the least standard deviation that is assumed.
    """
    centre = np.median(baseline, axis=0)
    return np.asarray((now - centre) / np.maximum(SIGMA * np.median(np.abs(baseline - centre), axis=0), least))


def outside(baseline: Floats, now: Floats) -> Bools:
    """Check which columns of `now` (…, P) lie beyond all of `baseline` (n, P), and far beyond its spread."""
    beyond = (now > baseline.max(axis=0)) | (now < baseline.min(axis=0))
    return np.asarray(beyond & (np.abs(distance(baseline, now)) > FAR))
