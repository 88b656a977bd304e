"""Describe what is unusual about the values of a batch, in a clause with numbers."""

from __future__ import annotations

import numpy as np

from harness.diagnosis.recorded.batch import Batch
from harness.diagnosis.robust_stats import Bools


def batch_evidence(batch: Batch) -> str | None:
    """Describe which records of a batch are outliers, or hold values that are not finite; None if none."""
    kind = "images" if batch.pixels is not None else "records"

    def which(chosen: Bools) -> str:
        number, count = int(chosen.sum()), len(batch)
        some = f"{number} of the {count}" if number < count else f"all {count}"
        return f"{some} {kind} of batch {batch.iteration:,} hold{'s' if number == 1 else ''} values"

    bad, outliers = ~batch.is_finite, batch.outliers & batch.is_finite
    if bad.any():
        return f"{which(bad)} that are NaN or infinite"
    if not outliers.any():
        return None
    most = float(batch.times[outliers].max())
    if not np.isfinite(most):
        return f"{which(outliers)} other than 0"
    return (
        f"{which(outliers)} {times(most)} times larger than {'the batches before' if outliers.all() else 'the others'}"
    )


def times(ratio: float) -> str:
    """Write a ratio: `363`, `21`, `2.4`."""
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"
