"""The rules: each finds the iterations at which its condition holds.

thresholds.toml explains every rule and its limits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.diagnosis.conditions import MAX_LOSS, Condition
from harness.diagnosis.live.baseline import WARM_UP, Segment, trailing
from harness.diagnosis.live.debounce import Hits
from harness.diagnosis.live.limits import FarGradient, Limits, LossJump
from harness.diagnosis.live.rows import Names, Rows
from harness.diagnosis.robust_stats import Bools, Floats, median
from harness.schemas.layout import ACTIVATION_STATS

_STAT = {name: column for column, name in enumerate(ACTIVATION_STATS)}
_START = 100  # iterations of a run in which a head may be saturated
_MOSTLY = 0.75  # of the last losses of a head
_PRETRAINED = 0.75  # share of the chance level below which a run begins that continues from learned weights
_CONVERGED = 0.05  # share of it below which gradients vanish because nothing is left to learn

# -- the loss and the learning rate ----------------------------------------------------------------------------------


def loss_jump(segment: Segment, limits: Limits) -> Hits:
    """Find losses worse than chance level and far above the best level: several in a row, or by their median.

    Or, at any height, a level far above the best one for a whole baseline that no longer falls.
    """
    limit, history, loss = limits.loss_jump, segment.history, segment.rows.loss
    single, level = _loss_bounds(segment, limit)
    losses = trailing(loss, segment.before.loss, max(limit.iterations, limit.level))
    lowest, middle = losses[:, -limit.iterations :].min(axis=1), median(losses[:, -limit.level :])
    in_a_row, high = lowest > single, middle > level
    settled, least = segment.baseline.settled if segment.baseline else np.nan, np.nan
    if np.isfinite(settled):
        least = max(2 * abs(history.best), history.best + limit.rise * segment.scale, history.level_far)
    damaged = np.full(len(loss), bool(settled > least))
    value = np.where(in_a_row, lowest, np.where(high, middle, settled))
    bound = np.where(in_a_row, single, np.where(high, level, least))
    return _single("loss_jump", "loss", np.isfinite(loss) & (in_a_row | high | damaged), value, bound)


def loss_spike(segment: Segment, limits: Limits) -> Hits:
    """Find the losses that `loss_jump` looks for; fewer in a row than it takes are a spike."""
    loss, (bound, _) = segment.rows.loss, _loss_bounds(segment, limits.loss_jump)
    return _single("loss_spike", "loss", np.isfinite(loss) & (loss > bound), loss, bound, limits.loss_jump.iterations)


def _loss_bounds(segment: Segment, limit: LossJump) -> tuple[float, float]:
    """Return the bounds of single losses, and of their level, above which nothing is left of what was learned."""
    history, baseline, chance = segment.history, segment.baseline, segment.names.chance_loss
    if baseline is None or not np.isfinite(history.far):
        return np.inf, np.inf
    # a new net may do anything at first; one that continues from learned weights may not
    if baseline.count < WARM_UP and (chance is None or history.start > _PRETRAINED * chance):
        return np.inf, np.inf
    if chance is None:
        poor = max(history.start, 2 * abs(history.best))
    else:  # a net that has not learned anything yet is at chance level
        poor = chance * (limit.ignorance if history.best < limit.ignorance * chance else 2)
    single, level = max(poor, history.far), max(poor, history.level_far)
    # in small batches single losses are as high by chance, and then so are several in a row
    by_chance = np.count_nonzero(baseline.losses > single) > 1
    return np.inf if by_chance else single, level


def loss_not_decreasing(segment: Segment, limits: Limits) -> Hits:
    """Find a loss that has never been lower than at the start, or than chance level, after `iterations`."""
    limit, chance, history = limits.loss_not_decreasing, segment.names.chance_loss, segment.history
    age = segment.rows.iteration - history.first
    if chance is not None:
        bound = (1 - limit.fall) * chance
    else:  # a run that continues from learned weights may begin on its plateau
        bound = history.start - limit.fall * abs(history.start) if history.first == 0 else np.inf
    hit = (age >= limit.iterations) & (history.lowest > bound)
    return _single("loss_not_decreasing", "loss", hit, np.full(len(hit), history.lowest), bound)


def lr_jump(segment: Segment, limits: Limits) -> Hits:
    """Find a learning rate that rose from one iteration to the next."""
    rate, factor = segment.rows.lr, limits.lr_jump.factor
    before = np.append(segment.before.lr[-1:] if len(segment.before) else rate[:1], rate[:-1])
    return _single("lr_jump", "lr", (before > 0) & (rate > factor * before), rate, factor * before)


def _single(rule: str, subject: str, hit: Bools, value: Floats, limit: Floats | float, in_a_row: int = 1) -> Hits:
    bound = np.broadcast_to(limit, hit.shape)[:, None]
    return Hits(rule, (subject,), hit[:, None], value[:, None], bound, in_a_row)


# -- heads -----------------------------------------------------------------------------------------------------------


def uniform_collapse(segment: Segment, limits: Limits) -> Hits:
    """Find heads whose loss is ln(classes) after it had been well below."""
    limit, chance = limits.uniform_collapse, np.log(segment.names.classes)
    losses = trailing(segment.rows.heads, segment.before.heads, limit.iterations)
    middle = median(losses)
    near = np.abs(losses / chance[:, None] - 1) <= limit.within
    hit = (near.mean(axis=-1) >= _MOSTLY) & (np.abs(middle / chance - 1) <= limit.within)
    hit &= segment.history.best_heads < limit.learned * chance
    return _of_heads(Condition.UNIFORM, segment, hit, middle, (1 - limit.within) * chance)


def saturated_softmax(segment: Segment, limits: Limits) -> Hits:
    """Find heads with the loss of a net that is certain of one class for every record.

    It must have been well below before, or last longer than a bad start.
    """
    limit = limits.saturated_softmax
    bound = limit.share * (1 - 1 / segment.names.classes) * MAX_LOSS
    middle = median(trailing(segment.rows.heads, segment.before.heads, limit.iterations))
    hit = (middle >= bound) & (middle <= MAX_LOSS * (1 + 1e-3))
    late = segment.rows.iteration - segment.history.first >= _START
    hit &= late[:, None] | (segment.history.best_heads < bound / 2)
    return _of_heads(Condition.SATURATED, segment, hit, middle, bound)


def _of_heads(condition: Condition, segment: Segment, hit: Bools, value: Floats, limit: Floats) -> Hits:
    heads = tuple(head.name for head in segment.names.heads)
    return Hits(condition.rule, heads, hit, value, np.broadcast_to(limit, hit.shape))


# -- param blobs -----------------------------------------------------------------------------------------------------


def gradient_explosion(segment: Segment, limits: Limits) -> Hits:
    """Find gradients far longer than the longest of the baseline."""
    limit, gradient = limits.gradient_explosion, segment.rows.gradient_l2
    longest = segment.baseline.gradient_max if segment.baseline else np.full(gradient.shape[1], np.nan)
    bound = limit.factor * longest
    hit = np.isfinite(gradient) & (gradient > bound) & (bound > 0) & segment.names.learning
    return _of_gradients("gradient_explosion", segment, hit, bound, limit)


def vanishing_gradient(segment: Segment, limits: Limits) -> Hits:
    """Find gradients far shorter than the median of the baseline, or 0, while there is something left to learn."""
    limit, gradient = limits.vanishing_gradient, segment.rows.gradient_l2
    middle = segment.baseline.gradient_median if segment.baseline else np.full(gradient.shape[1], np.nan)
    bound = limit.factor * middle
    loss = median(trailing(segment.rows.loss, segment.before.loss, limit.iterations))
    hit = (gradient < bound) & (loss > _CONVERGED * segment.scale)[:, None] & segment.names.learning
    return _of_gradients("vanishing_gradient", segment, hit, bound, limit)


def _of_gradients(rule: str, segment: Segment, hit: Bools, bound: Floats, limit: FarGradient) -> Hits:
    gradient = segment.rows.gradient_l2
    return Hits(rule, segment.names.params, hit, gradient, np.broadcast_to(bound, hit.shape), limit.iterations)


def weight_update_ratio(segment: Segment, limits: Limits) -> Hits:
    """Find a large ‖update‖ / ‖weight‖ of an iteration. Biases do not count: they are near 0 by nature."""
    limit, weight, update = limits.weight_update_ratio, segment.rows.weight_l2, segment.rows.update_l2
    with np.errstate(all="ignore"):
        ratio = np.where(weight > 0, update / weight, 0.0)
    late = segment.rows.iteration - segment.history.first >= limit.after
    blobs = np.array(segment.names.matrices, bool) & segment.names.learning
    hit = late[:, None] & blobs & np.isfinite(ratio) & (ratio > limit.largest)
    bound = np.full(ratio.shape, limit.largest)
    return Hits("weight_update_ratio", segment.names.params, hit, ratio, bound, limit.iterations)


# -- inputs, and what is not finite ----------------------------------------------------------------------------------


def input_range(segment: Segment, limits: Limits) -> Hits:
    """Find inputs with values far larger than any before, more so where the largest has varied from batch to batch."""
    value, baseline = segment.rows.largest_inputs, segment.baseline
    bound = np.full(value.shape[1], np.nan)
    if baseline is not None and baseline.count >= WARM_UP:
        with np.errstate(all="ignore"):
            varies = np.maximum(segment.history.largest_inputs / baseline.inputs_median, 1)
            bound = limits.input_range.factor * segment.history.largest_inputs * varies
    hit = np.isfinite(value) & (value > bound) & (bound > 0) & segment.names.measured
    return Hits("input_range", segment.names.inputs, hit, value, np.broadcast_to(bound, hit.shape))


def non_finite(segment: Segment, limits: Limits) -> Hits:
    """Find NaN or infinity in weights, losses, gradients and updates, in the order in which an iteration computes them.

    Inputs come first, in iterations in which something else is not finite either: a net may ignore its inputs.
    Activations, between weights and losses, are examined where they are taken: `nonfinite_activations`.
    """
    rows = segment.rows
    bad = [
        ~np.isfinite(rows.weight_l2),
        ~np.isfinite(rows.heads),
        ~np.isfinite(rows.loss)[:, None],
        (rows.gradient_nonfinite > 0) | ~np.isfinite(rows.gradient_l2),
        ~np.isfinite(rows.update_l2),
    ]
    inputs = new_nonfinite_inputs(rows, segment.before) & np.concatenate(bad, axis=1).any(axis=1, keepdims=True)
    values = [rows.weight_l2, rows.heads, rows.loss[:, None], rows.gradient_nonfinite, rows.update_l2]
    values = [rows.nonfinite_inputs, *values]
    hit = np.concatenate([inputs, *bad], axis=1)
    value, bound = np.concatenate(values, axis=1), np.full(hit.shape, np.inf)
    return Hits(Condition.NON_FINITE.rule, segment.names.quantities, hit, value, bound)


def new_nonfinite_inputs(rows: Rows, before: Rows) -> Bools:
    """(n, I) Find inputs that are not finite and were finite in the iteration before."""
    bad = rows.nonfinite_inputs > 0
    earlier = before[-1:].nonfinite_inputs > 0 if len(before) else np.zeros_like(bad[:1])
    return np.asarray(bad & ~np.concatenate([earlier, bad])[: len(bad)])


# -- activations, at the iterations at which they were taken ---------------------------------------------------------


def dead_relu(values: Floats, names: Names, limits: Limits) -> Hits:
    """Find ReLUs whose outputs are 0 for a whole batch, in `values` (S, A, 4), two times in a row."""
    limit = limits.dead_relu
    columns = [column for column, blob in enumerate(names.blobs) if blob in names.relus]
    zeros = values[:, columns, _STAT["zero_fraction"]]
    subjects = tuple(names.blobs[column] for column in columns)
    return Hits("dead_relu", subjects, zeros >= limit.zeros, zeros, np.full(zeros.shape, limit.zeros), in_a_row=2)


def nonfinite_activations(values: Floats, names: Names, inputs: Floats, new: Bools) -> Hits:
    """Find NaN or infinite elements of blobs, in `values` (S, A, 4): in forward order, after the inputs.

    Args:
        inputs: (S, I) numbers of NaN or infinite elements that data layers gave. An input alone is no hit.
        new: (S, I) whether they gave none in the iteration before.
    """
    count = values[:, :, _STAT["nonfinite"]]
    given = np.zeros(count.shape, bool)
    for column, name in enumerate(names.inputs):
        if name in names.blobs:
            given[:, names.blobs.index(name)] = inputs[:, column] > 0
    bad = (count > 0) & ~given
    hit = np.concatenate([new & bad.any(axis=1, keepdims=True), bad], axis=1)
    subjects = (*(f"input {name}" for name in names.inputs), *(f"activation {blob}" for blob in names.blobs))
    return Hits(Condition.NON_FINITE.rule, subjects, hit, np.concatenate([inputs, count], axis=1), np.zeros(hit.shape))


# The rules on every iteration that raise an alarm after enough hits in a row.
RULES: dict[str, Callable[[Segment, Limits], Hits]] = {
    rule.__name__: rule
    for rule in (
        non_finite,
        input_range,
        lr_jump,
        loss_jump,
        saturated_softmax,
        uniform_collapse,
        loss_not_decreasing,
        gradient_explosion,
        vanishing_gradient,
        weight_update_ratio,
    )
}
