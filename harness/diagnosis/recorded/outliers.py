"""Tell which records of a batch are unlike the others, by the largest magnitude of their values."""

from __future__ import annotations

import numpy as np

from harness.diagnosis.robust_stats import SIGMA, Bools, Floats

_OUTLIER = 6.0  # standard deviations of the range of the other records
_FEWEST = 5  # batches before, to be compared with


def outlying(size: Floats) -> Bools:
    """Check which largest magnitudes are not finite, or far above those of the other records and twice their median."""
    finite = np.where(np.isfinite(size), size, np.inf)
    known = size[np.isfinite(size)]
    if not len(known):
        return np.ones(len(size), bool)
    # most of a batch may be outliers: the lower half is taken to be ordinary
    lower = np.sort(known)[: max(1, len(known) // 2)]
    return np.asarray(finite > _bound(lower))


def far_beyond(size: Floats, before: Floats) -> Bools:
    """Check which largest magnitudes are far above those of whole batches `before`: all records of one may be."""
    if len(before) < _FEWEST:
        return np.zeros(len(size), bool)
    return np.asarray(np.where(np.isfinite(size), size, np.inf) > _bound(before))


def _bound(usual: Floats) -> float:
    """Return the magnitude that an ordinary record does not reach, from the `usual` ones."""
    centre = float(np.median(usual))
    spread = SIGMA * float(np.median(np.abs(usual - centre)))
    return max(2 * centre, centre + _OUTLIER * spread)


def times_ordinary(size: Floats, outliers: Bools, before: Floats) -> Floats:
    """Return how many times the largest magnitude of the ordinary records, or else of the batches before, each has."""
    ordinary = size[~outliers] if not outliers.all() else before
    largest = float(np.max(ordinary)) if len(ordinary) else float(np.min(size, initial=np.inf))
    finite = np.where(np.isfinite(size), size, np.inf)
    return np.asarray(finite / largest) if 0 < largest < np.inf else np.where(outliers, np.inf, 1.0)
