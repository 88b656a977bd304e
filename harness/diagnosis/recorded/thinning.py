"""Reduce series to fewer points without losing a spike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.intp]


def shares(count: int, most: int) -> Rows:
    """Return the first row of each of at most `most` equal shares of `count` rows."""
    return np.unique(np.linspace(0, count, min(count, most), endpoint=False).astype(np.intp))


def extremes(values: npt.NDArray[np.float64], most: int) -> Rows:
    """Choose the rows of a (T,) series to draw instead of all.

    Of each of `most` / 2 shares these are the rows of its smallest, its largest and its first value that is not finite,
    in order; and the first and last row of all.
    """
    count = len(values)
    if count <= most:
        return np.arange(count)
    starts = shares(count, most // 2)
    stops = np.append(starts[1:], count)
    finite = np.isfinite(values)
    low, high = np.where(finite, values, np.inf), np.where(finite, values, -np.inf)
    rows = [0, count - 1]
    for start, stop in zip(starts, stops, strict=True):
        share = slice(start, stop)
        rows += [
            start + int(found) for found in (np.argmin(low[share]), np.argmax(high[share]), np.argmin(finite[share]))
        ]
    return np.unique(rows)


def largest(values: npt.NDArray[np.float64], starts: Rows) -> npt.NDArray[np.float64]:
    """Return (C, P) the largest value of each share of a (T, P) array, column by column; NaN counts as infinite."""
    if not len(values):
        return np.empty((0, values.shape[1]))
    return np.asarray(np.maximum.reduceat(np.where(np.isnan(values), np.inf, values), starts, axis=0))
