"""Tell from short arms which records do damage: their effects, compared with those of ordinary records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.diagnosis.robust_stats import LEAST_SPREAD, SIGMA, logarithm
from harness.schemas.arm import ArmResult

_FAR = 8.0  # standard deviations of the effects of ordinary records beyond which one is an outlier
_LEAST = 1e-6  # the least standard deviation that effects are taken to have
_TAIL = 4.0  # the second largest deviation of ordinary records is taken to be so many standard deviations at most


@dataclass(frozen=True)
class Effect:
    """What records do in the batch of an iteration, compared with a batch of ordinary records alone.

    Attributes:
        rises: of the loss in the iterations after it; infinite where it is not finite, from then on.
        gradient_l2: norm of the raw gradient of that batch; infinite where it is not finite.
    """

    rises: tuple[float, ...]
    gradient_l2: float

    @property
    def largest(self) -> float:
        """The largest rise."""
        return max(self.rises)


@dataclass(frozen=True)
class Usual:
    """The effects of ordinary records.

    Attributes:
        rise, spread: the median rise in each of the iterations after them, and its standard deviation; a few far ones
            among many that do nothing count as well.
        gradient_l2: the median.
        gradient_spread: the standard deviation of its logarithm.
    """

    rise: tuple[float, ...]
    spread: tuple[float, ...]
    gradient_l2: float
    gradient_spread: float


@dataclass(frozen=True)
class Scale:
    """What the effect of a record of a batch is compared with.

    Attributes:
        usual: the effects of ordinary records.
        little: the rises of the loss below which none matters.
        enough: those with which a whole batch of such records would break training; infinite for iterations before
            which the batch has done its damage.
        gradient_l2: the share of the batch's gradient that is one record's if all have the same.
    """

    usual: Usual
    little: tuple[float, ...]
    enough: tuple[float, ...]
    gradient_l2: float

    def outlying(self, effect: Effect) -> float | None:
        """Return the first rise of the loss that is an outlier and matters; None if none does.

        Records may do more together than the sum of what each does; then each has its share of the gradient. A record
        that is only hard for the net has a larger gradient and does more than easy ones, but no harm. With no more
        gradient than usual, it does nothing itself: the loss misses what the stand-in in its place would have taught.
        """
        if effect.gradient_l2 <= self.usual.gradient_l2:
            return None
        return outlying_rise(effect, self.usual, self.little if effect.gradient_l2 >= self.gradient_l2 else self.enough)


def effect_of(result: ArmResult, ordinary: ArmResult, at: int) -> Effect | None:
    """Return the effect of the batch that `result` has in iteration `at`; None if its process died.

    `ordinary` has a batch of ordinary records there, and is as long at least.
    """
    if result.ended in ("died", "refused"):
        return None
    row = at - result.arm.start
    finite = len(result.loss) - (result.ended == "not finite")  # where the loss is finite, something else may not be
    rises = tuple(
        result.loss[n] - ordinary.loss[n] if n < finite else math.inf for n in range(row + 1, result.arm.horizon)
    )
    gradient = result.gradient_l2[row] if row < len(result.gradient_l2) else math.inf
    return Effect(rises, gradient if math.isfinite(gradient) else math.inf)


def usual_of(effects: Sequence[Effect]) -> Usual:
    """Summarize the effects of ordinary records, of which there is one at least; those not finite are left out."""
    lags = max(len(effect.rises) for effect in effects)
    rows = np.array([e.rises for e in effects if len(e.rises) == lags and math.isfinite(e.largest)]).reshape(-1, lags)
    if not len(rows):
        rows = np.zeros((1, lags))
    centre = np.median(rows, axis=0)
    deviations = np.sort(np.abs(rows - centre), axis=0)
    tail = deviations[-2] / _TAIL if len(rows) > 1 else np.zeros(lags)
    spread = np.maximum(np.maximum(SIGMA * np.median(deviations, axis=0), tail), _LEAST)
    logs = logarithm(np.array([e.gradient_l2 for e in effects if math.isfinite(e.gradient_l2)] or [1.0]))
    middle = np.median(logs)
    return Usual(
        rise=tuple(centre.tolist()),
        spread=tuple(spread.tolist()),
        gradient_l2=float(np.exp(middle)),
        gradient_spread=float(max(SIGMA * np.median(np.abs(logs - middle)), LEAST_SPREAD)),
    )


def outlying_rise(effect: Effect, usual: Usual, least: Sequence[float]) -> float | None:
    """Return the first rise of the loss that is far above those with ordinary records, and above `least`; None if none.

    It is infinite where the loss is not finite.
    """
    for rise, centre, spread, relevant in zip(effect.rises, usual.rise, usual.spread, least, strict=False):
        if rise - centre > max(_FAR * spread, relevant):
            return rise
    return None


def relief(without: Effect, usual: Usual, whole: Effect, lag: int, share: float) -> float | None:
    """Return by how much less a batch does without a record; None if that is nothing special.

    Args:
        without, whole: the effects of the batch without it, and of all of the batch.
        usual: the effects of the batch without another, ordinary record, one each.
        lag: the iteration after the batch that counts: 0 is the next one.
        share: of what the whole batch does, which is to disappear.
    """
    less = usual.rise[lag] - without.rises[lag]
    return less if less > max(_FAR * usual.spread[lag], share * whole.rises[lag]) else None


def is_suspicious(effect: Effect, usual: Usual, far: float = _FAR) -> bool:
    """Check whether the loss or the gradient is far from those with ordinary records, in whatever direction."""
    if not math.isfinite(effect.gradient_l2):
        return True
    gradient = (math.log(max(effect.gradient_l2, 1e-30)) - math.log(usual.gradient_l2)) / usual.gradient_spread
    return gradient > far or any(
        abs(rise - centre) > far * spread
        for rise, centre, spread in zip(effect.rises, usual.rise, usual.spread, strict=False)
    )
