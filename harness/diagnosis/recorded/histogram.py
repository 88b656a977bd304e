"""Compute histograms of arrays; of a large one, part by part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 30  # as many as TensorBoard draws
_BLOCK = 1 << 16  # elements that are counted at a time, so that intermediate results stay in the processor's cache


@dataclass(frozen=True)
class Histogram:
    """The `counts` (n,) of the finite elements in n equally wide bins from `low`, the smallest element, to `high`.

    Counts are whole numbers, except in a merged histogram, where only their sum is.
    """

    low: float
    high: float
    counts: npt.NDArray[np.float64]

    @property
    def limits(self) -> npt.NDArray[np.float64]:
        """(n,) the upper end of each bin."""
        return _edges(self.low, self.high, len(self.counts))[1:]


def histogram(values: npt.NDArray[np.float32], bins: int = BINS) -> Histogram | None:
    """Compute the histogram of `values` (N,), with one bin if all are equal; None if none is finite."""
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low + high):
        finite = values[np.isfinite(values)]
        return histogram(finite, bins) if finite.size < values.size else None
    if low == high:
        return Histogram(low, high, np.array([values.size], np.float64))
    counts = np.zeros(bins, np.int64)
    for start in range(0, values.size, _BLOCK):
        # in float64, where neither the width nor its inverse can overflow
        places = np.subtract(values[start : start + _BLOCK], low, dtype=np.float64)
        places *= bins / (high - low)
        counts += np.bincount(np.minimum(places.astype(np.intp), bins - 1), minlength=bins)
    return Histogram(low, high, counts.astype(np.float64))


def merged(parts: Sequence[Histogram], bins: int = BINS) -> Histogram | None:
    """Merge histograms, as if the elements of a bin were spread evenly in it; None if there are none."""
    if len(parts) < 2:
        return parts[0] if parts else None
    low, high = min(part.low for part in parts), max(part.high for part in parts)
    total = sum(float(part.counts.sum()) for part in parts)
    if low == high:
        return Histogram(low, high, np.array([total]))
    edges = _edges(low, high, bins)
    below = np.zeros(bins + 1)  # elements below each edge
    for part in parts:
        if part.low == part.high:
            below += np.where(edges > part.low, part.counts[0], 0.0)
        else:
            below += np.interp(edges, _edges(part.low, part.high, len(part.counts)), np.append(0, part.counts.cumsum()))
    below[-1] = total
    return Histogram(low, high, np.diff(below))


def _edges(low: float, high: float, bins: int) -> npt.NDArray[np.float64]:
    edges: npt.NDArray[np.float64] = low + np.arange(bins + 1, dtype=np.float64) * ((high - low) / bins)
    edges[-1] = high
    return edges
