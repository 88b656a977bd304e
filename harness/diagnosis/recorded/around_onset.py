"""Numbers of the iterations around an onset that tell which change may help."""

from __future__ import annotations

import numpy as np

from harness.diagnosis.recorded.baseline import PARAM_ROWS
from harness.diagnosis.recorded.evidence_text import MIN_BLOCK
from harness.diagnosis.robust_stats import Floats, Ints
from harness.schemas.onset import GradientNorms

_NEAR = 5  # iterations before an onset and from it on, whose gradients it would be to clip
_RAISED = 1.5  # times: a learning rate that rose by so much before the onset


def gradient_norms(iterations: Ints, norms: Floats, onset: int) -> GradientNorms | None:
    """Return the norms of the whole gradient before an onset, and near it as far as they are finite.

    None where there is no baseline: in the first iterations of a run, or where the norms were 0.

    Args:
        iterations: (T,) ascending.
        norms: (T,).
    """
    row = int(np.searchsorted(iterations, onset))
    before, near = norms[max(0, row - PARAM_ROWS) : row], norms[max(0, row - _NEAR) : row + _NEAR]
    before, near = before[np.isfinite(before)], near[np.isfinite(near)]
    if len(before) < MIN_BLOCK or not np.median(before) > 0:
        return None
    return GradientNorms(float(np.median(before)), float(near.max()))


def raised_rate(iterations: Ints, rates: Floats, onset: int) -> tuple[float, float] | None:
    """Return the learning rate before and at an onset, if it rose by half or more in the iterations before.

    Args:
        iterations: (T,) ascending.
        rates: (T,).
    """
    row = int(np.searchsorted(iterations, onset))
    near = rates[max(0, row - PARAM_ROWS) : row + 1]
    if not len(near) or not near[-1] >= _RAISED * near.min() > 0:
        return None
    return float(near.min()), float(near[-1])
