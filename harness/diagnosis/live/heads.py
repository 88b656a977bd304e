"""Rules on single heads: what a softmax loss says of the probabilities behind it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.diagnosis.live.baseline import Hits, Segment
from harness.diagnosis.live.limits import SaturatedSoftmax, UniformCollapse
from harness.diagnosis.live.rows import Floats

_MOSTLY = 0.75  # of the last iterations
_START = 100  # iterations

# SoftmaxWithLossLayer::Forward_cpu takes the logarithm of max(probability, FLT_MIN).
SATURATED = -float(np.log(np.finfo(np.float32).tiny))


def uniform_collapse(segment: Segment, limit: UniformCollapse) -> Hits:
    """A head's loss is ln(classes), as if all classes were equally probable, after it had been well below."""
    uniform = np.log(_classes(segment))
    losses = segment.last(segment.rows.heads, segment.before.heads, limit.iterations)
    median = np.median(losses, axis=-1)
    near = np.abs(losses / uniform[:, None] - 1) <= limit.within
    hit = (near.mean(axis=-1) >= _MOSTLY) & (np.abs(median / uniform - 1) <= limit.within)
    hit &= segment.past.best_heads < limit.learned * uniform
    return _hits("uniform_collapse", segment, hit, median, (1 - limit.within) * uniform)


def saturated_softmax(segment: Segment, limit: SaturatedSoftmax) -> Hits:
    """A head's loss is that of a net that is certain of one class for every image, and finds the others impossible.

    (After it had been well below, or for longer than a bad start lasts.)
    """
    bound = limit.share * (1 - 1 / _classes(segment)) * SATURATED
    median = np.median(segment.last(segment.rows.heads, segment.before.heads, limit.iterations), axis=-1)
    hit = (median >= bound) & (median <= SATURATED * (1 + 1e-3))
    late = segment.rows.iteration - segment.past.first >= _START
    hit &= late[:, None] | (segment.past.best_heads < bound / 2)
    return _hits("saturated_softmax", segment, hit, median, bound)


def _classes(segment: Segment) -> Floats:
    """(H,) NaN for a loss without classes, which is near nothing."""
    return np.array([head.classes or np.nan for head in segment.names.heads], np.float64)


def _hits(rule: str, segment: Segment, hit: npt.NDArray[np.bool_], value: Floats, limit: Floats) -> Hits:
    return Hits(rule, tuple(head.name for head in segment.names.heads), hit, value, np.broadcast_to(limit, hit.shape))
