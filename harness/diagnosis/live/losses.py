"""Rules on the loss and the learning rate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.diagnosis.live.baseline import NEW, Hits, Segment
from harness.diagnosis.live.limits import LossJump, LossNotDecreasing, LrJump
from harness.diagnosis.live.rows import Floats

_LEARNED = 0.75  # share of the know-nothing loss below which a run begins that goes on from learned weights


def loss_jump(segment: Segment, limit: LossJump) -> Hits:
    """Worse than knowing nothing and far above the best level so far: several times in a row, or at the median. Or, at
    any height, far above that level for a whole window, and no longer on the way back."""
    past, loss = segment.past, segment.rows.loss
    single, level = _bounds(segment, limit)
    losses = segment.last(loss, segment.before.loss, max(limit.iterations, limit.level))
    row, median = losses[:, -limit.iterations :].min(axis=1), np.median(losses[:, -limit.level :], axis=1)
    in_a_row, high = row > single, median > level
    settled, least = segment.baseline.settled if segment.baseline else np.nan, np.nan
    if np.isfinite(settled):
        least = max(2 * abs(past.best), past.best + limit.rise * segment.scale, past.level_far)
    damaged = np.full(len(loss), bool(settled > least))
    value = np.where(in_a_row, row, np.where(high, median, settled))
    bound = np.where(in_a_row, single, np.where(high, level, least))
    return _one("loss_jump", "loss", np.isfinite(loss) & (in_a_row | high | damaged), value, bound)


def loss_spike(segment: Segment, limit: LossJump) -> Hits:
    """The losses that `loss_jump` looks for; fewer in a row than it wants are a spike."""
    loss, (bound, _) = segment.rows.loss, _bounds(segment, limit)
    return _one("loss_spike", "loss", np.isfinite(loss) & (loss > bound), loss, bound, limit.iterations)


def _bounds(segment: Segment, limit: LossJump) -> tuple[float, float]:
    """Above which nothing is left of what was learned: for single losses, and for a level."""
    past, known = segment.past, segment.names.chance_loss
    if segment.baseline is None or not np.isfinite(past.far):
        return np.inf, np.inf
    # at first a new net may do anything; one that goes on from what it has learned may not
    if segment.baseline.count < NEW and (known is None or past.start > _LEARNED * known):
        return np.inf, np.inf
    if known is None:
        poor = max(past.start, 2 * abs(past.best))
    else:  # a net that has not learned anything yet begins there
        poor = known * (limit.ignorance if past.best < limit.ignorance * known else 2)
    single, level = max(poor, past.far), max(poor, past.level_far)
    # in small batches single losses are as high by chance, and then so are several in a row
    by_chance = np.count_nonzero(segment.baseline.losses > single) > 1
    return np.inf if by_chance else single, level


def loss_not_decreasing(segment: Segment, limit: LossNotDecreasing) -> Hits:
    """No better after `limit.iterations` than at the start, or than a net that knows nothing."""
    known, past = segment.names.chance_loss, segment.past
    age = segment.rows.iteration - past.first
    if known is not None:
        bound = (1 - limit.fall) * known
    else:  # a run that goes on from learned weights may begin on its plateau
        bound = past.start - limit.fall * abs(past.start) if past.first == 0 else np.inf
    hit = (age >= limit.iterations) & (past.lowest > bound)
    return _one("loss_not_decreasing", "loss", hit, np.full(len(hit), past.lowest), bound)


def lr_jump(segment: Segment, limit: LrJump) -> Hits:
    """The learning rate rose from one iteration to the next."""
    rate = segment.rows.lr
    before = np.append(segment.before.lr[-1:] if len(segment.before) else rate[:1], rate[:-1])
    return _one("lr_jump", "lr", (before > 0) & (rate > limit.factor * before), rate, limit.factor * before)


def _one(
    rule: str, subject: str, hit: npt.NDArray[np.bool_], value: Floats, limit: Floats | float, in_a_row: int = 1
) -> Hits:
    bound = np.broadcast_to(limit, hit.shape)[:, None]
    return Hits(rule, (subject,), hit[:, None], value[:, None], bound, in_a_row)
