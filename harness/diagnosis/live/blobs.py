"""Rules on param blobs, and on everything that is not finite."""

from __future__ import annotations

import numpy as np

from harness.diagnosis.live.baseline import Hits, Segment
from harness.diagnosis.live.limits import FarGradient, Rule, WeightUpdateRatio

_LEARNED = 0.05  # of what there is to lose: with a loss below, gradients vanish because nothing is left to learn


def gradient_explosion(segment: Segment, limit: FarGradient) -> Hits:
    """Far longer than the longest of the last window."""
    gradient = segment.rows.gradient_l2
    bound = limit.factor * segment.baseline.gradient_max if segment.baseline else np.full(gradient.shape[1], np.nan)
    hit = np.isfinite(gradient) & (gradient > bound) & (bound > 0)
    return Hits(
        "gradient_explosion", segment.names.params, hit, gradient, np.broadcast_to(bound, hit.shape), limit.iterations
    )


def vanishing_gradient(segment: Segment, limit: FarGradient) -> Hits:
    """Far shorter than usual, or gone, while there is something left to learn."""
    gradient = segment.rows.gradient_l2
    bound = limit.factor * segment.baseline.gradient_median if segment.baseline else np.full(gradient.shape[1], np.nan)
    loss = np.median(segment.last(segment.rows.loss, segment.before.loss, limit.iterations), axis=1)
    hit = (gradient < bound) & (loss > _LEARNED * segment.scale)[:, None]
    return Hits(
        "vanishing_gradient", segment.names.params, hit, gradient, np.broadcast_to(bound, hit.shape), limit.iterations
    )


def weight_update_ratio(segment: Segment, limit: WeightUpdateRatio) -> Hits:
    """‖update‖ / ‖weight‖ of one iteration. (Not of biases, which are near 0 by nature.)"""
    weight, update = segment.rows.weight_l2, segment.rows.update_l2
    with np.errstate(all="ignore"):
        ratio = np.where(weight > 0, update / weight, 0.0)
    late = segment.rows.iteration - segment.past.first >= limit.after
    hit = late[:, None] & np.array(segment.names.matrices, bool) & np.isfinite(ratio) & (ratio > limit.largest)
    bound = np.full(ratio.shape, limit.largest)
    return Hits("weight_update_ratio", segment.names.params, hit, ratio, bound, limit.iterations)


def non_finite(segment: Segment, limit: Rule) -> Hits:
    """NaN or infinity, by subject in the order of an iteration: weights, losses, gradients, updates.

    (Activations, between weights and losses, are looked at where they are taken: `activations.non_finite`.)
    """
    rows, names = segment.rows, segment.names
    bad = [
        ~np.isfinite(rows.weight_l2),
        ~np.isfinite(rows.heads),
        ~np.isfinite(rows.loss)[:, None],
        (rows.gradient_nonfinite > 0) | ~np.isfinite(rows.gradient_l2),
        ~np.isfinite(rows.update_l2),
    ]
    values = [rows.weight_l2, rows.heads, rows.loss[:, None], rows.gradient_nonfinite, rows.update_l2]
    subjects = (
        *(f"weight {p}" for p in names.params),
        *(f"loss {h.name}" for h in names.heads),
        "loss",
        *(f"gradient {p}" for p in names.params),
        *(f"update {p}" for p in names.params),
    )
    hit = np.concatenate(bad, axis=1)
    return Hits("non_finite", subjects, hit, np.concatenate(values, axis=1), np.full(hit.shape, np.inf))
