"""Judge by the losses whether a fault has the right strength."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import numpy as np

from tools.bench.faults.breaks import Break, breaks_early, find_break, is_healthy
from tools.bench.faults.planting import Planting
from tools.bench.faults.probe import Losses

_EARLY = 5  # iterations by which the smoothed loss may seem to rise before the event
_FIRST = 100  # iterations that tell whether a training breaks early
_LASTING = 80  # iterations after which a break is taken for lasting,
_STAYS = 0.8  # where the loss is still at this share of chance level; below, training may be recovering
_AFTER = 60  # iterations after those in which a break must come


class Strength(Enum):
    """The strength of a fault."""

    TOO_WEAK = "it does not break the training, or too late"
    RIGHT = "it breaks the training as it should; of a control, it does not break"
    TOO_STRONG = "it breaks the training too early; of a control, it breaks"


def judge(planting: Planting, losses: Losses) -> tuple[Strength, Break | None]:
    """Return the strength of a fault by the losses of its training, and the break if it is right."""
    net = planting.training.net
    if planting.recovers or planting.flips is not None:
        if not is_healthy(losses, net.chance, net.iterations):
            return Strength.TOO_STRONG, None
        if planting.at is not None and planting.flips is None:
            before = losses[planting.at - 40 : planting.at]
            if losses[planting.at : planting.at + 8].max() <= max(before.max() * 1.5, net.chance / 2):
                return Strength.TOO_WEAK, None
        return Strength.RIGHT, None
    broke = find_break(losses, net.chance, len(losses))
    if broke is None:
        return Strength.TOO_STRONG if breaks_early(losses, net.chance) else Strength.TOO_WEAK, None
    if planting.at is not None and not -_EARLY <= broke.iteration - planting.at <= planting.within:
        return Strength.TOO_WEAK, None
    return Strength.RIGHT, broke


def is_clear(planting: Planting, losses: Losses) -> bool:
    """Whether the first losses of a training tell enough of the strength of its fault."""
    chance = planting.training.net.chance
    if len(losses) < _FIRST:
        return False
    if planting.at is None and breaks_early(losses, chance):
        return True
    broke = find_break(losses, chance, len(losses))
    if broke is not None:
        stays = float(np.median(losses[-20:])) > _STAYS * chance
        return stays and len(losses) - broke.iteration >= _LASTING
    return planting.at is not None and not planting.recovers and len(losses) >= planting.at + planting.within + _AFTER


def bisected(count: int, strength: Callable[[int], Strength], wants_strongest: bool) -> int | None:
    """Return the weakest of `count` faults of ascending strength that is right, or the strongest; None without one.

    Args:
        strength: of the fault with a number; each is tried at most once, and few are.
    """
    right: int | None = None
    low, high = -1, count
    while high - low > 1:
        middle = (low + high) // 2
        found = strength(middle)
        if found is Strength.RIGHT:
            right = middle
        if found is Strength.TOO_WEAK or (found is Strength.RIGHT and wants_strongest):
            low = middle
        else:
            high = middle
    return right
