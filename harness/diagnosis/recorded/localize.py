"""Where in the net the damage begins: the first blob of an iteration that has left its past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from harness.diagnosis.live.rows import Floats, Names
from harness.diagnosis.recorded.robust_stats import distance, logarithm
from harness.schemas.onset import Onset

FAR = 5.0  # standard deviations
PARAM_ROWS, BLOB_ROWS, LEAST_ROWS = 200, 50, 4  # rows that say what was usual
_PATIENCE = 4  # iterations in which an update's damage shows


def localize(
    onset: Onset,
    iterations: npt.NDArray[np.int64],
    gradient_l2: Floats,
    taken: npt.NDArray[np.int64],
    values: Floats,
    names: Names,
) -> Onset:
    """`onset`, with the first blobs that have left their past (see below for the arguments)."""
    return replace(
        onset,
        blob=first_blob(taken, values, onset.iteration, names.blobs),
        param=first_param(iterations, gradient_l2, onset.iteration, names.params),
    )


def first_param(
    iterations: npt.NDArray[np.int64], gradient_l2: Floats, onset: int, labels: Sequence[str]
) -> str | None:
    """The first param blob in update order whose gradient left its past at the onset, or in the iterations after it.

    Args:
        iterations: (T,) ascending, with some before the onset.
        gradient_l2: (T, P).
    """
    row = int(np.searchsorted(iterations, onset))
    usual = logarithm(gradient_l2[max(0, row - PARAM_ROWS) : row])
    if len(usual) < LEAST_ROWS:
        return None
    for now in gradient_l2[row : row + _PATIENCE]:
        far = np.flatnonzero(unusual(usual, logarithm(now)) | ~np.isfinite(now))
        if len(far):
            return labels[int(far[0])]
    return None


def first_blob(taken: npt.NDArray[np.int64], values: Floats, onset: int, labels: Sequence[str]) -> str | None:
    """The first of the net's blobs in forward order that left its past, looked at from the onset on; None if none did.

    Args:
        taken: (S,) iterations, ascending.
        values: (S, A, 4) as in layout.ACTIVATION_STATS.
    """
    row = int(np.searchsorted(taken, onset))
    usual = logarithm(values[max(0, row - BLOB_ROWS) : row, :, :2])  # mean and largest magnitude
    if len(usual) < LEAST_ROWS:
        return None
    for now in values[row : row + _PATIENCE]:
        far = np.flatnonzero(unusual(usual, logarithm(now[:, :2])).any(axis=1) | (now[:, 3] > 0))
        if len(far):
            return labels[int(far[0])]
    return None


def unusual(usual: Floats, now: Floats) -> npt.NDArray[np.bool_]:
    """Is `now` beyond all that was `usual` (rows), by its spread?"""
    beyond = (now > usual.max(axis=0)) | (now < usual.min(axis=0))
    return np.asarray(beyond & (np.abs(distance(usual, now)) > FAR))
