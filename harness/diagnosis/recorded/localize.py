"""Localize an onset in the net: the first blobs of an iteration that left their baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.diagnosis.live.rows import Names
from harness.diagnosis.recorded.baseline import BLOB_ROWS, MIN_ROWS, PARAM_ROWS
from harness.diagnosis.robust_stats import Floats, Ints, logarithm, outside
from harness.schemas.onset import Onset

_PATIENCE = 4  # iterations in which an update's damage shows


def localize(onset: Onset, iterations: Ints, gradient_l2: Floats, taken: Ints, values: Floats, names: Names) -> Onset:
    """Return `onset` with the first blob and param blob that left their baseline (see below for the arguments)."""
    return replace(
        onset,
        blob=first_blob(taken, values, onset.iteration, names.blobs),
        param=first_param(iterations, gradient_l2, onset.iteration, names),
    )


def first_param(iterations: Ints, gradient_l2: Floats, onset: int, names: Names) -> str | None:
    """Find the first param blob, in update order, whose gradient left its baseline at the onset or just after.

    Args:
        iterations: (T,) ascending, with some before the onset.
        gradient_l2: (T, P).
    """
    row = int(np.searchsorted(iterations, onset))
    baseline = logarithm(gradient_l2[max(0, row - PARAM_ROWS) : row])
    if len(baseline) < MIN_ROWS:
        return None
    for now in gradient_l2[row : row + _PATIENCE]:
        far = np.flatnonzero((outside(baseline, logarithm(now)) & names.learning) | ~np.isfinite(now))
        if len(far):
            return names.params[int(far[0])]
    return None


def first_blob(taken: Ints, values: Floats, onset: int, labels: Sequence[str]) -> str | None:
    """Find the first of the net's blobs, in forward order, that left its baseline when examined from the onset on.

    Args:
        taken: (S,) iterations, ascending.
        values: (S, A, 4) as in layout.ACTIVATION_STATS.
    """
    row = int(np.searchsorted(taken, onset))
    baseline = logarithm(values[max(0, row - BLOB_ROWS) : row, :, :2])  # mean and largest magnitude
    if len(baseline) < MIN_ROWS:
        return None
    for now in values[row : row + _PATIENCE]:
        far = np.flatnonzero(outside(baseline, logarithm(now[:, :2])).any(axis=1) | (now[:, 3] > 0))
        if len(far):
            return labels[int(far[0])]
    return None
