"""Rules on the net's blobs, at the iterations at which those were looked at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.diagnosis.live.baseline import Hits
from harness.diagnosis.live.limits import DeadRelu, Rule
from harness.diagnosis.live.rows import Names
from harness.schemas.layout import ACTIVATION_STATS

_STAT = {name: column for column, name in enumerate(ACTIVATION_STATS)}


def dead_relu(values: npt.NDArray[np.float64], names: Names, limit: DeadRelu) -> Hits:
    """`values` (S, A, 4): a ReLU whose outputs are zero for a whole batch."""
    columns = [column for column, blob in enumerate(names.blobs) if blob in names.relus]
    zeros = values[:, columns, _STAT["zero_fraction"]]
    subjects = tuple(names.blobs[column] for column in columns)
    return Hits("dead_relu", subjects, zeros >= limit.zeros, zeros, np.full(zeros.shape, limit.zeros), in_a_row=2)


def non_finite(values: npt.NDArray[np.float64], names: Names, limit: Rule) -> Hits:
    """`values` (S, A, 4): NaN or infinite elements of blobs, in forward order."""
    count = values[:, :, _STAT["nonfinite"]]
    subjects = tuple(f"activation {blob}" for blob in names.blobs)
    return Hits("non_finite", subjects, count > 0, count, np.zeros(count.shape))
