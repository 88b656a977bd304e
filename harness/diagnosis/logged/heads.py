"""Determine the state of each loss of a net: learning, at chance level, saturated, or not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.diagnosis.conditions import Condition, HeadState, chance_loss
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.logged.findings import HeadFinding
from harness.diagnosis.logged.levels import FEWEST, block_medians, falling_at_end
from harness.diagnosis.logged.plateaus import LATER, TIGHT, Level, is_flat, level_of, printed_as, with_classes
from harness.diagnosis.logged.rises import Rise, find_rise
from harness.diagnosis.logged.tracks import Track
from harness.diagnosis.robust_stats import Floats

_OVERSHOOT = (
    10  # times `within`: ln K is the lowest loss of a constant answer, and biases that learn fast make it worse
)
LOW = 0.9 * chance_loss(2)  # no softmax over balanced classes at chance level costs as little
_BEGINS = 0.01  # below ln(classes), of a loss that falls: it begins to learn
_ROUGHLY = 0.1  # off ln(classes), of the few displays after a rise that noise might have made as well
_FLAT_END = 5  # displays, of few that are all alike
_END, _PLATEAU = 10, 100  # displays that show the level of a loss at the end, and of one after a jump
_BATCHES = (*range(1, 65), 80, 96, 100, 120, 128, 200, 256)


@dataclass(frozen=True)
class Judged:
    """A head, and the rise that it ended in."""

    head: HeadFinding
    rise: Rise | None


def judge(tracks: Sequence[Track], long: bool, limits: Limits) -> tuple[Judged, ...]:
    """Return the finding on every head. `long`: there was time to learn.

    A rise that noise may have made counts only where it ends at a significant level: ln(classes), or 87.3365.
    """
    rises = [_rise(track, limits) for track in tracks]
    significant = (Condition.UNIFORM, Condition.SATURATED)
    states = [state for _, state in _judged(tracks, rises, long, limits)]
    rises = [
        rise if rise is None or rise.certain or Condition.of_head(state) in significant else None
        for rise, state in zip(rises, states, strict=True)
    ]
    return tuple(judged for judged, _ in _judged(tracks, rises, long, limits))


def _judged(
    tracks: Sequence[Track], rises: Sequence[Rise | None], long: bool, limits: Limits
) -> list[tuple[Judged, HeadState]]:
    """Return the finding on every head, and its state as if all rules were enabled."""
    ends = [_end(track, rise) for track, rise in zip(tracks, rises, strict=True)]
    known = with_classes(tracks, rises, ends, limits)
    found = []
    for track, rise, end in zip(known, rises, ends, strict=True):
        state, never = _state(track, rise, end, long, limits)
        found.append((Judged(_finding(track, rise, end, state, never, limits), rise), state))
    return found


def _rise(track: Track, limits: Limits) -> Rise | None:
    finite = np.isfinite(track.values)
    least = 0.8 * (1 / limits.uniform_collapse.learned - 1)
    return find_rise(track.iterations[finite], track.values[finite], track.span, least)


def _end(track: Track, rise: Rise | None) -> Level:
    values = track.finite
    count = min(max(len(values) // 4, 1), _END)
    if rise is None and is_flat(track):
        count = min(max(len(values) // 2, min(len(values) - 1, _FLAT_END)), LATER)
    elif rise is None:
        count = falling_at_end(values) or count
    elif rise is not None:
        values = values[min(rise.full, len(values) - 1) :]
        # the first one is a transient, where there are more
        values = values[1:] if len(values) > 1 else values
        count = _PLATEAU
    return level_of(values[-count:], track.span)


def _finding(track: Track, rise: Rise | None, end: Level, state: HeadState, never: bool, limits: Limits) -> HeadFinding:
    condition = Condition.of_head(state)
    if condition in (Condition.UNIFORM, Condition.SATURATED) and not limits.of(condition.rule).enabled:
        state, never = "unknown", False
    return HeadFinding(
        name=track.name,
        weight=track.weight,
        classes=track.classes,
        source=track.source,
        approximate=track.approximate,
        state=state,
        never_learned=never,
        before=rise.good if rise is not None else None,
        loss=end.value if condition is not Condition.NON_FINITE else math.nan,
    )


def _state(track: Track, rise: Rise | None, end: Level, long: bool, limits: Limits) -> tuple[HeadState, bool]:
    """Return the state, and whether a head at chance level never learned."""
    if not len(track.values):
        return "unknown", False
    if not np.isfinite(track.values[-1]):
        return Condition.NON_FINITE.head_state, False
    if _is_saturated(track, rise, end, limits):
        return Condition.SATURATED.head_state, False
    if len(track.finite) < FEWEST:
        return "unknown", False
    if track.chance is None:
        learns = rise is None and (0 != end.value < LOW or _has_fallen(track))
        return ("learning" if learns else "unknown"), False
    uniform, within = Condition.UNIFORM.head_state, limits.uniform_collapse.within
    low = (1 - within) * track.chance - 2 * end.error
    high = (1 + _OVERSHOOT * within) * track.chance + 2 * end.error
    learned = limits.uniform_collapse.learned * track.chance
    if printed_as(track.finite, track.classes or 1):
        return uniform, rise is None and float(track.finite.min()) > learned
    if rise is not None and rise.best < learned:
        steady = end.spread is None or end.spread < 2 * TIGHT
        if not rise.certain:
            steady = steady and bool(np.all(np.abs(track.finite[rise.full :] / track.chance - 1) < _ROUGHLY))
        return (uniform if low <= end.value <= high and steady else "unknown"), False
    late = falling_at_end(track.finite)
    if late and float(np.median(track.finite[-late:])) < (1 - _BEGINS) * track.chance:
        return "learning", False
    always = level_of(track.finite[len(track.finite) // 2 :][-LATER:])
    if _is_at_chance(track, always, limits):
        return (uniform if long else "unknown"), long
    return ("learning" if end.value + 2 * end.error < learned or _has_fallen(track) else "unknown"), False


def _is_at_chance(track: Track, always: Level, limits: Limits) -> bool:
    """Check whether a loss never was far below ln(classes): it came to it from above, or began there and stays."""
    assert track.chance is not None
    learned = limits.uniform_collapse.learned * track.chance
    values = track.finite
    if block_medians(values, max(5, len(values) // 8)).min() < learned - 2 * always.error:
        return False
    within, least = limits.uniform_collapse.within, (1 - limits.loss_not_decreasing.fall) * track.chance
    high = (1 + _OVERSHOOT * within) * track.chance + 2 * always.error
    if least <= always.value <= high:
        return True
    return is_flat(track) and learned <= always.value <= 2 * track.chance - learned


def _has_fallen(track: Track) -> bool:
    values = track.finite
    if len(values) < FEWEST:
        return False
    first, last = level_of(values[: max(1, len(values) // 10)]), level_of(values[-max(1, len(values) // 4) :])
    return last.value < first.value - max(0.02 * abs(first.value), 2 * last.error)


def _is_saturated(track: Track, rise: Rise | None, end: Level, limits: Limits) -> bool:
    """Check whether the true class has probability 0 for most records, or for all but those of one class.

    A loss that is large from the first display on, but not in steps of 87.3365 / batch, is rather that of labels
    outside the classes.
    """
    share = end.value / track.saturated
    if not 0.05 < share < 1.001:
        return False
    exact = np.abs(end.values / track.saturated - 1) < 1e-4
    if rise is None and track.fresh and not exact.any() and not _is_counted(track, end.values):
        return False
    if track.chance is not None:
        one_class = 1 - 1 / (track.classes or 2)
        return share >= limits.saturated_softmax.share * one_class or end.value > max(
            4 * track.chance, 0.2 * track.saturated
        )
    return bool(
        share > 0.999 or (share >= limits.saturated_softmax.share and exact.any()) or _is_counted(track, end.values)
    )


def _is_counted(track: Track, values: Floats) -> bool:
    """Check whether the losses are multiples of 87.3365 / batch: some records at probability 0, the others at 1."""
    if track.span > 1 or len(np.unique(values)) < 3:
        return False
    for batch in _BATCHES:
        unit = track.saturated / batch
        off = np.abs(values / unit - np.round(values / unit)) * unit
        if np.all(off < 2e-5 * values) and np.median(values) > 2 * unit:
            return True
    return False
