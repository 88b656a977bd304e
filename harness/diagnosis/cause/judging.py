"""Judge how an arm ended: broken or healed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from harness.diagnosis.robust_stats import Floats
from harness.schemas.arm import ArmResult
from harness.schemas.explanation import Judgement, Levels

_LAST = 8  # iterations at the end of an arm whose median counts, and a quarter of it at the most
_NEAR = 0.1  # of the way from the broken to the healthy level: so close to it, the loss has not left it
_CLOSE = 0.15  # of the way from the healthy to the broken level, on both sides of the limit: not clear


def limit_between(healthy: float, broken: float | None, chance: float | None) -> float:
    """Return the loss above which a training counts as broken.

    It lies half-way between the healthy and the broken level; where the broken level is above chance, or not finite,
    half-way between the healthy level and chance, since a net that has forgotten all is broken.
    """
    tops = [level for level in (broken, chance) if level is not None and math.isfinite(level) and level > healthy]
    top = min(tops) if tops else max(2 * healthy, healthy + 1)
    return healthy + (top - healthy) / 2


def end_level(loss: Sequence[float] | Floats) -> float:
    """Return the median of the last losses of a training; infinite where they are not finite, or there are none."""
    last = np.asarray(loss[-_last(loss) :], np.float64)
    return float(np.median(last)) if last.size and np.isfinite(last).all() else math.inf


def end_levels(loss: Floats) -> Floats:
    """(T,) Return the lowest level at the end of the first 1, 2, 3 … losses, of arms that begin there or earlier.

    Of an arm that begins earlier, more losses are its end; where the loss swings, that matters.
    """
    lowest = np.full(len(loss), np.inf)
    known = np.where(np.isfinite(loss), loss, np.inf)
    for count in range(1, min(_LAST, len(loss)) + 1):
        windows = np.lib.stride_tricks.sliding_window_view(known, count)
        levels = np.where(np.isfinite(windows).all(axis=1), np.median(windows, axis=1), np.inf)
        judged = slice(count - 1, len(loss) if count == _LAST else 4 * (count + 1) - 1)  # that many losses, or fewer
        lowest[judged] = np.minimum(lowest[judged], levels[: judged.stop - judged.start])
    return lowest


def recovers(result: ArmResult, levels: Levels) -> bool:
    """Tell whether training has healed at the end of an arm, or is about to: it left the broken level, and falls."""
    level = math.inf if result.ended == "not finite" else end_level(result.loss)
    if level <= levels.limit:
        return True
    if levels.broken is None or level > levels.broken - _NEAR * (levels.broken - levels.healthy):
        return False
    count = _last(result.loss)
    before = result.loss[-3 * count : -2 * count]
    return bool(before) and level < float(np.median(before))


def _last(loss: Sequence[float] | Floats) -> int:
    """Return how many losses are the end."""
    return max(1, min(_LAST, len(loss) // 4))


def judge(result: ArmResult, levels: Levels) -> Judgement:
    """Tell whether the training of an arm is broken at its end."""
    if result.ended in ("died", "refused"):
        return "died" if result.ended == "died" else "refused"
    return "broken" if result.ended == "not finite" else judge_loss(result.loss, levels)


def judge_loss(loss: Sequence[float] | Floats, levels: Levels) -> Literal["broken", "healed", "unclear"]:
    """Tell whether a training with these losses is broken at its end."""
    return judge_level(end_level(loss), levels)


def judge_level(level: float, levels: Levels) -> Literal["broken", "healed", "unclear"]:
    """Tell whether a training that ends with the loss `level` is broken."""
    if not math.isfinite(level):
        return "broken"
    margin = _CLOSE * 2 * (levels.limit - levels.healthy)
    if abs(level - levels.limit) < margin:
        return "unclear"
    return "broken" if level > levels.limit else "healed"
