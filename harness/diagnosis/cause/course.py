"""The course of a recorded loss: its levels before and after a break, and how long it takes to break."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.diagnosis.cause.judging import end_levels, judge_level, judge_loss, limit_between
from harness.diagnosis.robust_stats import Floats
from harness.schemas.explanation import Levels

LEVEL = 40  # iterations of which a level is the median
_SHORTEST, _LONGEST = 16, 200  # iterations after the onset that arms have
_DAMAGED = 120  # iterations after the onset of which the broken level is the median
_USUAL = 0.9  # of the losses before are usual: a level below is no other one
_ANY = 1e30  # no finite loss is above it
_STAYS = 8  # iterations that a loss is to stay broken
_FALLS = 0.75  # of what the loss was above its level of before: it falls where it is no more than that a while later
_ENOUGH = 1.5  # times as long as the loss takes to break, arms are


def finite_median(values: Sequence[float] | Floats) -> float:
    """Return the median of those values that are finite; NaN if none is."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return float(np.median(finite)) if finite.size else math.nan


def levels_of(before: Floats, after: Floats, chance: float | None) -> Levels:
    """Return the levels of the losses before and after the break."""
    broken = None
    if len(after) and np.isfinite(after).all():
        broken = max(float(np.median(after[:_DAMAGED])), float(np.median(after[-LEVEL:])))
    before = before[-LEVEL:]
    first = chance if chance is not None else finite_median(after[:1])
    healthy = finite_median(before) if len(before) else first
    if math.isnan(healthy):  # no loss was ever finite
        return Levels(0.0, None, _ANY, chance)
    usual = before[np.isfinite(before)]
    is_usual = broken is not None and usual.size > 0 and broken <= np.quantile(usual, _USUAL)  # noise, not a level
    return Levels(healthy, broken, limit_between(healthy, None if is_usual else broken, chance), chance)


def iterations_needed(loss: Floats, levels: Levels) -> int:
    """Return how many iterations arms need after the onset: 1.5 times those after which the loss stays broken.

    `loss` are the losses from the onset on.
    """
    broken = _broken(loss, levels)
    stays = _stays(broken)
    if stays is None and judge_loss(loss, levels) == "healed":  # nothing broke: what was recorded will do
        return min(max(_SHORTEST, len(loss)), _LONGEST)
    enough = max(_SHORTEST, math.ceil(_ENOUGH * (stays or len(broken))))
    # a loss that swings may be low there: go on to where it is high
    high = _stays(broken, enough)
    return min(enough if high is None else high, _LONGEST)


def within_reach(loss: Floats, row: int, chance: float | None) -> int:
    """Return the row near which arms are to start for a break whose onset is row `row`.

    It is the onset itself, unless the loss takes longer to stay broken than arms have: then it is shortly before that.
    """
    stays = _stays(_broken(loss[row:], levels_of(loss[:row], loss[row:], chance)))
    return row if stays is None or _ENOUGH * stays <= _LONGEST else row + stays - LEVEL


def returned_after(before: Floats, after: Floats, onset: int | None, chance: float | None) -> int | None:
    """Return after how many of the losses `after` they are at their level of before; None if they are not.

    Args:
        after: from the iteration on that is explained.
        onset: its place in `after`, if the run has one: 0 if it lies before. What is explained may have passed by then.
    """
    if onset is None:
        return len(after) if judge_loss(after[-LEVEL:], levels_of(before, after, chance)) == "healed" else None
    return next((end for end in (onset, len(after)) if end and has_returned(before, after[:end], chance)), None)


def has_returned(before: Floats, after: Floats, chance: float | None) -> bool:
    """Check whether losses that rose to the level of a broken training are back from it at their end.

    At the end they are judged as those of an arm are. Where they are higher than usual all the same, they must still
    fall: a loss that has settled above its level of before has not returned.
    """
    levels = levels_of(before, after, chance)
    if judge_loss(after[-LEVEL:], levels) != "healed" or not any(_broken(after, levels)):
        return False
    usual = before[-LEVEL:][np.isfinite(before[-LEVEL:])]
    if usual.size and np.median(after[-LEVEL:]) <= np.quantile(usual, _USUAL):
        return True
    quarter = max(1, len(after) // 4)
    earlier, last = (
        float(np.median(part)) - levels.healthy for part in (after[-2 * quarter : -quarter], after[-quarter:])
    )
    return last <= _FALLS * earlier


def _broken(loss: Floats, levels: Levels) -> list[bool]:
    """Return whether the training would be broken if it ended after 1, 2, 3 … of the losses."""
    return [judge_level(level, levels) == "broken" for level in end_levels(loss).tolist()]


def _stays(broken: list[bool], first: int = 1) -> int | None:
    """Return after how many losses, `first` at the least, training stays broken for some iterations; None if never."""
    return next((end for end in range(first, len(broken)) if all(broken[end - 1 : end - 1 + _STAYS])), None)
