"""Judge a run by weak evidence: few displays, or a level that lasts but not for long.

Where the statistics of `verdict.py` need more displays than a log has, an expert still sees what they are likely to
mean. Each rule here says how strong its evidence is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.diagnosis.conditions import MAX_LOSS, Condition, Verdict
from harness.diagnosis.departures import EXPLODED, FLOOR, PLAIN
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.logged.at_chance import WEIGHTS, at_chance
from harness.diagnosis.logged.displays import Displays
from harness.diagnosis.logged.findings import HeadFinding, Strength, Why
from harness.diagnosis.logged.heads import LOW
from harness.diagnosis.logged.rises import stands_out
from harness.diagnosis.logged.tracks import TOTAL, Track
from harness.diagnosis.logged.verdict import Evidence
from harness.diagnosis.robust_stats import Floats

_ZERO = 1e-4  # a loss that begins below it learns nothing
_LARGE = 14.0  # above the chance level of a million classes
_SOFTMAX = ("SoftmaxWithLoss", "MultinomialLogisticLoss", "InfogainLoss")
_STEP, _ONE = 1.5, 1000.0  # times all before: three displays or more, and one
_LEAPING = 60  # displays below which a loss that explodes from one to the next is dated by these two
_HELD = 3  # displays before and after a step
_FIRST = 2  # displays in which a net may come down to chance level
_CLEAR_OF_SPREAD = 2.0  # times the spread of the displays on either side, of a step
_RISING, _RISEN = 6, 1.25  # displays that rise one by one, and by how much in all
_MANY = 8  # displays of which some may be out of order
_ORDERED = 0.85  # Kendall's tau of these
_NOISY = 0.32  # standard deviation / mean
_HIGH = 2.5, 12.0  # levels of a softmax that has learned little
_POOR = 0.65  # accuracy of a net that hardly does better than guessing among two classes
_RISEN_BY_NOISE = 0.5  # of the first displays
_FALLEN = 0.1  # of the first displays
_SHORT = 20  # displays below which a low level counts, also from the start, and noise


@dataclass(frozen=True)
class Judgement:
    """A verdict by weak evidence. `row`: the first display after a step; None without one."""

    verdict: Verdict
    why: Why
    strength: Strength | None
    heads: tuple[HeadFinding, ...]
    row: int | None = None


def judge_few(
    evidence: Evidence, tracks: Sequence[Track], accuracies: Sequence[float], limits: Limits
) -> Judgement | None:
    """Judge a run; None where its displays show nothing.

    Args:
        tracks: of the heads of `evidence`.
        accuracies: of the train net and the test nets, between 0 and 1.
    """
    heads, values = evidence.heads, evidence.total.values
    tracks = _complete(tracks, evidence.total)
    fresh = any(track.fresh for track in tracks)
    if not len(values):
        return None
    if np.abs(values).max() < (_ZERO if fresh else sys.float_info.min):
        return Judgement("unknown", "zero", None, heads)
    if tracks[0].name == TOTAL and any(abs(values[-1] / weight / MAX_LOSS - 1) < 1e-4 for weight in WEIGHTS):
        saturated = replace(heads[0], state=Condition.SATURATED.head_state)
        return Judgement("saturated-softmax", "never learned", "likely", (saturated,))
    if fresh and any(_starts_large(track, evidence) for track in tracks):
        return Judgement("unknown", "large start", None, heads)
    if limits.uniform_collapse.enabled:
        found = at_chance(tracks, heads, accuracies, int(evidence.total.iterations[-1]))
        if found is not None:
            why: Why = "never learned" if found.row is None else "collapsed"
            return Judgement("uniform-softmax", why, found.strength, found.heads, found.row)
    row = step_of(evidence.total)
    if row is not None:
        return Judgement("drift/oscillation", "step", "likely" if len(values) - row > 1 else "hint", heads, row)
    if _rises(values):
        return Judgement("drift/oscillation", "slow rise", "likely" if len(values) >= _MANY else "hint", heads)
    if len(tracks) == 1 and _is_noise(evidence, accuracies):
        return Judgement("drift/oscillation", "noise", "hint", heads)
    looks = _healthy(values, fresh, evidence)
    return None if looks is None else Judgement("healthy", looks, "hint", heads)


def came_down(
    evidence: Evidence, tracks: Sequence[Track], accuracies: Sequence[float], limits: Limits
) -> Judgement | None:
    """Judge a run that looks healthy because it fell, but to chance level within its first displays; None if not so."""
    if not limits.uniform_collapse.enabled or not len(evidence.total.values):
        return None
    tracks = _complete(tracks, evidence.total)
    found = at_chance(tracks, evidence.heads, accuracies, int(evidence.total.iterations[-1]))
    displays = len(evidence.total.values)
    if found is None or displays - found.first < _HELD:
        return None
    if found.row is None and found.first > max(_FIRST, displays // 10):
        return None
    why: Why = "never learned" if found.row is None else "collapsed"
    return Judgement("uniform-softmax", why, found.strength, found.heads, found.row)


def rose_to_chance(evidence: Evidence, tracks: Sequence[Track], row: int, limits: Limits) -> Judgement | None:
    """Judge a rise from display `row` on: its plateau is at chance level, by few displays; None if it is not."""
    if not limits.uniform_collapse.enabled or len(evidence.total.values) - row < _HELD:
        return None
    since = int(evidence.total.iterations[row])
    tracks = _complete(tracks, evidence.total)
    plateaus = [
        replace(t, iterations=t.iterations[t.iterations >= since], values=t.values[t.iterations >= since], fresh=True)
        for t in tracks
    ]
    found = at_chance(plateaus, evidence.heads, (), int(evidence.total.iterations[-1]))
    if found is None or found.first > 1:
        return None
    heads = tuple(
        replace(head, never_learned=False, before=judged.rise.good if judged.rise is not None else None)
        for head, judged in zip(found.heads, evidence.judged, strict=True)
    )
    return Judgement("uniform-softmax", "collapsed", "likely", heads)


def _complete(tracks: Sequence[Track], total: Displays) -> Sequence[Track]:
    """Return the tracks; that of a single head with the displays of the total, where the log shows more of these."""
    if len(tracks) != 1 or not tracks[0].weight > 0 or len(tracks[0].values) >= len(total.values):
        return tracks
    with np.errstate(over="ignore"):  # a total near the largest number becomes infinite
        values = total.values / tracks[0].weight
    return [replace(tracks[0], iterations=total.iterations, values=values)]


def _starts_large(track: Track, evidence: Evidence) -> bool:
    """Check whether a loss, as far as is known of a softmax, is from the start far above any chance level."""
    if evidence.loss_types.get(track.name, _SOFTMAX[0]) not in _SOFTMAX or not len(track.finite):
        return False
    first, last = float(track.finite[0]), float(track.finite[-1])
    return bool(track.finite.min() > _LARGE and track.finite.max() < 1.001 * track.saturated and last > first / 2)


def step_of(total: Displays) -> int | None:
    """Return the first of the displays at the end that are all far above those before; None where there is none.

    Of many displays, the statistics know more.
    """
    values = total.values
    if not 2 <= len(values) < _LEAPING or np.any(values <= 0):
        return None
    short = len(values) < _SHORT
    for row in range(1, len(values) - 1):
        before = values[max(row - 2, 0) : row] if short else values[:row]
        times = PLAIN if short and row > 1 else EXPLODED
        if values[row:].min() > times * before.max() and stands_out(total.iterations, values, row):
            return row
    if not short:
        return None
    if values[-1] > _ONE * values[:-1].max() and values[-1] > 100:
        return len(values) - 1
    for row in range(_HELD, len(values) - _HELD + 1):
        low, high = values[row - _HELD : row], values[row:]
        gap = float(high.min() - low.max())
        spread = max(float(np.ptp(low)), float(np.ptp(high)), 0.1 * float(np.median(low)))
        if high.min() > _STEP * values[:row].min() and gap > _CLEAR_OF_SPREAD * spread:
            return row
    return None


def _rises(values: Floats) -> bool:
    """Check whether the displays rise nearly one by one."""
    if len(values) < _RISING or values[0] <= 0 or values[-1] < _RISEN * values[0]:
        return False
    order = np.sign(values[None, :] - values[:, None])[np.triu_indices(len(values), 1)]
    if len(values) < _MANY:
        return bool(np.all(order > 0))
    return bool(order.mean() >= _ORDERED and np.median(values[-3:]) > _STEP * np.median(values[:3]))


def _is_noise(evidence: Evidence, accuracies: Sequence[float]) -> bool:
    """Check whether single losses differ widely, and do not fall, at a level at which little was learned."""
    values = _single(evidence.total)
    if len(values) > 2 and values[0] > 2 * np.median(values[1:]):  # it came down from there
        values = values[1:]
    if not 4 <= len(values) < _SHORT or np.any(values <= 0) or np.std(values, ddof=1) < _NOISY * np.mean(values):
        return False
    level, half = float(np.median(values)), len(values) // 2
    poor = bool(accuracies) and max(accuracies) < _POOR
    high = _HIGH[0] <= level <= _HIGH[1] or (poor and LOW <= level < _HIGH[0])
    return bool(high and np.median(values[half:]) > (1 - _FALLEN) * np.median(values[:half]))


def _single(total: Displays) -> Floats:
    single = total.single[np.isfinite(total.single)]
    return single if len(single) > _HELD else total.values


def spread_of(total: Displays) -> tuple[float, float]:
    """Return the lowest and the highest loss of a single iteration; of the means where the log does not show them."""
    values = _single(total)
    return float(values.min()), float(values.max())


def _healthy(values: Floats, fresh: bool, evidence: Evidence) -> Why | None:
    """Return why a run in which nothing is wrong looks healthy; None where it does not."""
    third = max(len(values) // 3, 1)
    first, last = float(np.median(values[:third])), float(np.median(values[-third:]))
    lower = len(values) > 1 and first - last > max(_FALLEN * abs(first), FLOOR)
    if lower and (len(values) < 4 or np.median(values[third:-third]) <= max(values[:third].max(), last)):
        return "fallen"
    if evidence.long and fresh:  # it had time to fall
        return None
    if _ZERO < abs(last) < LOW and len(values) < _SHORT:
        return "level"
    excerpt = not fresh and len(values) > 2 and last - first < _RISEN_BY_NOISE * abs(first)
    return "level" if excerpt else None
