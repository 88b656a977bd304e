"""Recognise heads that stay at chance level from the first display on, by few displays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.diagnosis.conditions import Condition, chance_loss
from harness.diagnosis.logged.findings import HeadFinding, Source, Strength
from harness.diagnosis.logged.levels import noise_of, running_median
from harness.diagnosis.logged.tracks import TOTAL, Track
from harness.diagnosis.robust_stats import Floats, Ints

_STAYS = 0.06  # relative distance from its level of a loss that stays
_FIRST = 2  # displays in which a net may come down to chance level
_MANY = 20  # displays of which some may be off
_BELOW, _ABOVE = 0.012, 0.03  # relative distance from a chance level that is known
_SPREAD = 0.08  # relative, of displays at a chance level that is known
_FALLS = 0.006  # relative: a level that falls by more is no chance level
_FEW_CLASSES = 20  # ln(classes) of neighbours are apart
_COMMON = (2, 3, 4, 5, 10, 20, 21, 50, 67, 100, 101, 102, 196, 200, 205, 256, 257, 365, 397, 1000)
_WEIGHTS = (1.6, 2.0, 3.0)  # sums of loss weights of common nets, where a log shows only the total
_GUESSES = 0.2  # relative, of the accuracy of a net that guesses
_MOST = math.log(100_000)


@dataclass(frozen=True)
class _Found:
    """A number of classes, `sure` to the last digit. `weight`: of the heads in a total."""

    classes: int
    source: Source
    weight: float = 1.0
    sure: bool = True


@dataclass(frozen=True)
class _Stay:
    """Displays at one level from some display on: their `level`, relative `spread`, and whether they fall on.

    `end`: the level of the last third.
    """

    values: Floats
    level: float
    spread: float
    end: float
    falls: bool


def heads_at_chance(
    tracks: Sequence[Track], heads: Sequence[HeadFinding], accuracies: Sequence[float], iterations: Ints
) -> tuple[tuple[HeadFinding, ...], Strength | None]:
    """Return the heads, those at chance level as such, and how strong the evidence is; None where it is too weak.

    Args:
        accuracies: of the train net and the test nets, between 0 and 1.
        iterations: of the displays.
    """
    stays = [_stay(track) for track in tracks]
    levels = [stay.level for stay in stays if stay is not None]
    known = {track.classes for track in tracks if track.source in ("net", "given") and track.classes}
    found = []
    for track, head, stay in zip(tracks, heads, stays, strict=True):
        classes = None if stay is None else _classes(track, stay, levels, accuracies, known)
        found.append(head if classes is None or stay is None else _uniform(head, track, classes, stay))
    weights = [abs(head.weight) for head in found]
    uniform = [w for w, head in zip(weights, found, strict=True) if head.never_learned]
    if not uniform or sum(uniform) <= sum(weights) / 2:
        return tuple(heads), None
    displays = max(len(stay.values) for stay, head in zip(stays, found, strict=True) if stay and head.never_learned)
    guessed = any(_is_guess(accuracies, head.classes or 0) for head in found)
    if displays == 1 and not (iterations[-1] > 0 and (guessed or known)):
        return tuple(heads), None  # every new net begins there
    return tuple(found), "likely" if displays >= 3 or guessed else "hint"


def always_at_chance(
    tracks: Sequence[Track], heads: Sequence[HeadFinding], accuracies: Sequence[float]
) -> tuple[HeadFinding, ...] | None:
    """Return the heads of a run that came down to chance level within its first displays; None for another one."""
    for track in tracks:
        stay = _stay(track)
        if stay is None or len(stay.values) < len(track.finite) - max(_FIRST, len(track.finite) // 10):
            return None
        if track.source not in ("net", "given") and (
            len(stay.values) < 3 or not track.fresh or _common(track, stay.level) is None
        ):
            return None
    found, strength = heads_at_chance(tracks, heads, accuracies, tracks[0].iterations) if tracks else ((), None)
    return found if strength is not None else None


def _stay(track: Track) -> _Stay | None:
    """Return the displays at the level of the end, if these are at least half of all."""
    values = track.finite
    if not len(values) or len(values) < len(track.values):
        return None
    level = float(np.median(values[len(values) // 2 :]))
    smooth = running_median(values, 5) if len(values) > _MANY else values
    off = np.flatnonzero(np.abs(smooth - level) > _STAYS * abs(level))
    stay = values[int(off[-1]) + 1 if len(off) else 0 :]
    if level <= 0 or len(stay) < max(len(values) / 2, 1):
        return None
    later = stay[len(stay) // 3 :] if len(stay) > 3 else stay  # on its way it may have been farther off
    low, high = np.quantile(later, (0.05, 0.95)) if len(later) > _MANY else (later.min(), later.max())
    third, noise = max(len(stay) // 3, 1), noise_of(stay)
    end = float(np.median(stay[-third:]))
    before = float(np.median(stay[-2 * third : -third])) if len(stay) > 2 else end
    least = max(_FALLS * level, 0.0 if math.isnan(noise) or third < 2 else 3 * noise / math.sqrt(third))
    return _Stay(stay, float(np.median(stay)), float(high - low) / level, end, before - end > least)


def _classes(
    track: Track, stay: _Stay, levels: Sequence[float], accuracies: Sequence[float], known: set[int]
) -> _Found | None:
    """Return the number of classes at whose chance level the displays are, and where it comes from."""
    if track.chance is not None and track.source in ("net", "given"):
        near = -_BELOW < stay.end / track.chance - 1 < _ABOVE and stay.spread < _SPREAD
        return _Found(track.classes or 0, track.source) if near else None
    for classes in known:  # a net that is cut off shows the classes of some heads
        if abs(stay.end / chance_loss(classes) - 1) < _BELOW and stay.spread < _SPREAD:
            return _Found(classes, "net")
    if stay.falls or not math.log(2) * 0.98 < stay.level < _MOST:
        return None
    by_guess = _guessed(accuracies, stay.level)
    if by_guess and stay.spread < _STAYS:
        return _Found(by_guess, "inferred")
    return _inferred(track, stay, levels)


def _inferred(track: Track, stay: _Stay, levels: Sequence[float]) -> _Found | None:
    common = _common(track, stay.level)
    if common is not None:
        off = abs(stay.level / common.weight / chance_loss(common.classes) - 1)
        return common if _is_evident(track, stay, off, levels, known=True) else None
    classes = round(math.exp(stay.level))
    off = abs(stay.level / chance_loss(classes) - 1)
    known = classes <= _FEW_CLASSES and track.fresh
    return _Found(classes, "inferred", sure=known) if _is_evident(track, stay, off, levels, known=known) else None


def _is_evident(track: Track, stay: _Stay, off: float, levels: Sequence[float], *, known: bool) -> bool:
    """Check whether displays whose number of classes is not known are at a chance level.

    Any level is near the logarithm of some number: what counts is that all displays are alike, and that the number is
    small or common (`known`).
    """
    agree = len(levels) > 1 and float(np.ptp(levels)) < 0.01 * stay.level
    if track.fresh:
        return stay.spread < (0.02 if known or agree else 0.01) and off < 0.01 and (known or track.name != TOTAL)
    # a loss of any kind may be flat later on
    return known and len(stay.values) > 2 and stay.spread < 0.004 and off < 0.0015


def _common(track: Track, level: float) -> _Found | None:
    """Return a common number of classes at whose chance level a loss is, also that of a weighted sum of heads."""
    weights = (1.0, *_WEIGHTS) if track.name == TOTAL else (1.0,)
    for weight in weights:
        for classes in _COMMON:
            within = 0.003 if weight == 1 else 0.002
            apart = weight == 1 or classes > _FEW_CLASSES
            if apart and abs(level / weight / chance_loss(classes) - 1) < within:
                return _Found(classes, "inferred", weight)
    return None


def _guessed(accuracies: Sequence[float], level: float) -> int | None:
    """Return the number of classes that an accuracy shows, if it is that of guessing among about exp(level) classes."""
    near = [round(1 / a) for a in accuracies if a > 0 and abs(a * math.exp(level) - 1) < _GUESSES]
    apart = {k: abs(level / chance_loss(k) - 1) for k in (*near, round(math.exp(level))) if k > 1}
    return min(apart, key=lambda k: apart[k]) if near and min(apart.values()) < 0.02 else None


def _is_guess(accuracies: Sequence[float], classes: int) -> bool:
    return any(a > 0 and abs(a * classes - 1) < _GUESSES for a in accuracies)


def _uniform(head: HeadFinding, track: Track, found: _Found, stay: _Stay) -> HeadFinding:
    error = float(np.ptp(stay.values)) / 2 / math.sqrt(len(stay.values))
    return replace(
        head,
        state=Condition.UNIFORM.head_state,
        weight=found.weight if track.name == TOTAL else head.weight,
        classes=found.classes,
        source=found.source,
        approximate=not found.sure and error > 0.25 / found.classes,
        never_learned=True,
        before=None,
        loss=stay.level,
    )
