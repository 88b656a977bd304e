"""Recognise heads at chance level by few displays: from the first one on, or after they had learned something."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.diagnosis.conditions import Condition, chance_loss
from harness.diagnosis.logged.findings import HeadFinding, Source, Strength
from harness.diagnosis.logged.levels import noise_of, running_median
from harness.diagnosis.logged.tracks import TOTAL, Track
from harness.diagnosis.robust_stats import Floats

_STRAYS = 2.5  # standard deviations of single displays, of the median of five
_MANY_NOISY = 50  # displays whose mean is at the chance level of…
_FEWEST_CLASSES = (2, 3, 4, 5, 10)  # …so many classes, to within…
_BY_MEAN = 0.015  # …this (relative)
_STAYS = 0.06  # relative distance from its level of a loss that stays
_MANY = 20  # displays of which some may be off
_FEW, _RANGE = 4, 3.3  # displays whose range is their spread; standard deviations that 90% of more of them span
_BELOW, _ABOVE = 0.012, 0.03  # relative distance from a chance level that is known
_FALLS = 0.006  # relative: a level that falls by more is no chance level
_LEARNED = 0.85  # of its level at the end: a head that was below it had learned something
_FEW_CLASSES = 20  # ln(classes) of neighbours are apart
# Numbers of classes of well-known data sets: digits, letters, CIFAR, VOC, Flowers, SUN, CUB, Caltech, ImageNet, faces.
_COMMON = (2, 3, 4, 5, 10, 11, 20, 21, 26, 36, 37, 50, 62, 67, 100, 101, 102, 196, 200, 205, 256, 257, 365, 397, 1000)
WEIGHTS = (1.6, 2.0, 3.0)  # sums of loss weights of common nets, where a log shows only the total
_GUESSES = 0.2  # relative, of the accuracy of a net that guesses
_MOST = math.log(100_000)
# Relative spread of displays at a chance level: of a known number of classes, of one that an accuracy shows, of a
# common or small one, of any, and of any where the total alone is displayed.
_KNOWN, _GUESSED, _USUAL, _ANY, _ANY_TOTAL = 0.08, 0.06, 0.02, 0.006, 0.003
_LATER = 0.006, 0.0015  # spread, and distance from ln(classes), in a log that does not begin with the run


@dataclass(frozen=True)
class AtChance:
    """The heads, those at chance level as such.

    Attributes:
        row: the first display at it of a run that had learned something; None for one that never did.
        first: the display from which on it is there.
    """

    heads: tuple[HeadFinding, ...]
    strength: Strength
    row: int | None
    first: int


@dataclass(frozen=True)
class _Found:
    """A number of classes, `sure` to the last digit. `weight`: of the heads in a total."""

    classes: int
    source: Source
    weight: float = 1.0
    sure: bool = True


@dataclass(frozen=True)
class _Stay:
    """Displays at one level, from display `first` to the end.

    Attributes:
        spread: relative.
        end: the level of the last third.
        falls: they are still falling.
        best: the lowest display before, as a share of the level.
    """

    values: Floats
    first: int
    level: float
    spread: float
    end: float
    falls: bool
    best: float


def at_chance(
    tracks: Sequence[Track], heads: Sequence[HeadFinding], accuracies: Sequence[float], last: int
) -> AtChance | None:
    """Find heads at chance level; None where most of the total is of others, or where that cannot be known.

    Args:
        accuracies: of the train net and the test nets, between 0 and 1.
        last: the iteration of the last display.
    """
    stays = [_stay(track) for track in tracks]
    levels = [stay.level for stay in stays if stay is not None]
    known = {track.classes for track in tracks if track.source in ("net", "given") and track.classes}
    found, there = [], []
    for track, head, stay in zip(tracks, heads, stays, strict=True):
        classes = None if stay is None else _classes(track, stay, levels, accuracies, known)
        if classes is None or stay is None:
            found.append(head)
            continue
        found.append(_uniform(head, track, classes, stay))
        there.append((stay, abs(head.weight)))
    if not there or not sum(weight for _, weight in there) > sum(abs(head.weight) for head in heads) / 2:
        return None
    first = max(stay.first for stay, _ in there)
    displays = max(len(stay.values) for stay, _ in there)
    guessed = any(_is_guess(accuracies, head.classes or 0) for head in found)
    if displays == 1 and first == 0 and not (last > 0 and (guessed or known)):
        return None  # every new net begins there
    noisy = any(
        stay.spread > _USUAL and head.source == "inferred" for stay, head in zip(stays, found, strict=True) if stay
    )
    learned = all(stay.best < _LEARNED for stay, _ in there)
    return AtChance(
        heads=tuple(found),
        strength="likely" if guessed or (displays >= 3 and not noisy) else "hint",
        row=first if learned else None,
        first=first,
    )


def _stay(track: Track) -> _Stay | None:
    """Return the displays at the level of the end; None where only few displays are there."""
    values = track.finite
    if not len(values) or len(values) < len(track.values):
        return None
    level = float(np.median(values[len(values) // 2 :]))
    smooth = running_median(values, 5) if len(values) > _MANY else values
    noise = noise_of(values) if len(values) > _MANY else 0.0
    off = np.flatnonzero(np.abs(smooth - level) > max(_STAYS * abs(level), _STRAYS * noise))
    first = int(off[-1]) + 1 if len(off) else 0
    stay, before = values[first:], values[:first]
    if len(stay) < max(len(values) / 2, min(len(before) + 1, 2)):
        return None
    level = float(np.median(stay))
    if level <= 0:
        return None
    # on its way down, a new net is farther off
    near = len(stay) > 1 and stay[-1] < stay[0] < (1 + _ABOVE) * stay[-1]
    later = stay[max(len(stay) // 3, 1) :] if len(stay) > 2 or near else stay
    spread = float(np.ptp(later))
    if len(later) > _FEW:  # the range of many grows with their number
        spread = min(spread, _RANGE * float(np.std(later, ddof=1)))
    best = float(before.min()) / level if len(before) else 1.0
    third = max(len(stay) // 3, 1)
    end = float(np.median(stay[-third:]))
    return _Stay(stay, first, level, spread / level, end, _falls(stay, third), best)


def _falls(stay: Floats, third: int) -> bool:
    """Check whether the last third lies below the one before it."""
    if third < 2:
        return len(stay) > 2 and bool(np.all(np.diff(stay[-3:]) < -_FALLS / 2 * stay[-1]))
    noise, level = noise_of(stay), float(np.median(stay))
    fallen = float(np.median(stay[-2 * third : -third]) - np.median(stay[-third:]))
    return fallen > max(_FALLS * level, 0.0 if math.isnan(noise) else 3 * noise / math.sqrt(third))


def _classes(
    track: Track, stay: _Stay, levels: Sequence[float], accuracies: Sequence[float], known: set[int]
) -> _Found | None:
    """Return the number of classes at whose chance level the displays are, and where it comes from.

    Any level is near the logarithm of some number. Where the number is not known, what counts is that all displays are
    alike, and that the number is small or common.
    """
    if track.chance is not None and track.source in ("net", "given"):
        near = -_BELOW < stay.end / track.chance - 1 < _ABOVE and stay.spread < _KNOWN
        return _Found(track.classes or 0, track.source) if near else None
    for classes in known:  # a net that is cut off shows the classes of some heads
        if abs(stay.end / chance_loss(classes) - 1) < _BELOW and stay.spread < _KNOWN:
            return _Found(classes, "net")
    if not math.log(2) * 0.98 < stay.level < _MOST:
        return None
    by_guess = _guessed(accuracies, stay.level)
    if by_guess and stay.spread < _GUESSED and stay.end > (1 - _BELOW) * chance_loss(by_guess):
        return _Found(by_guess, "inferred")
    by_means = _by_means(stay) if track.fresh and track.begins and stay.first == 0 else None
    if by_means is not None:
        return _Found(by_means, "inferred")
    if stay.falls:
        return None
    common = _common(track, stay.end) or _common(track, stay.level)
    if not track.fresh:  # a loss of any kind may be flat later on
        off = abs(stay.level / common.weight / chance_loss(common.classes) - 1) if common is not None else 1.0
        return common if len(stay.values) > 2 and stay.spread < _LATER[0] and off < _LATER[1] else None
    if common is not None and stay.spread < (_USUAL if common.weight == 1 else _ANY):
        return common
    classes = round(math.exp(stay.level))
    few = classes <= _FEW_CLASSES
    if few and abs(stay.level / chance_loss(classes) - 1) > (0.005 if stay.first else 0.01):
        return None
    off = abs(float(np.mean(stay.values)) / chance_loss(classes) - 1)
    if few and not stay.first and len(stay.values) > _FEW and off < 0.01 and stay.spread < _KNOWN:
        return _Found(classes, "inferred")  # a new net begins there, and did not get away from it
    agree = len(levels) > 1 and float(np.ptp(levels)) < 0.01 * stay.level
    least = 2 if few and not stay.first else 3
    spread = _ANY_TOTAL if track.name == TOTAL else _ANY
    if agree or few:
        spread = _USUAL if not stay.first else _USUAL / 2
    alike = len(stay.values) >= least and stay.spread < spread
    return _Found(classes, "inferred", sure=few) if alike else None


def _by_means(stay: _Stay) -> int | None:
    """Return the number of classes at whose chance level many noisy displays are, in each third of them."""
    if len(stay.values) < _MANY_NOISY:
        return None
    means = [float(np.mean(part)) for part in np.array_split(stay.values, 3)]
    error = float(np.std(stay.values, ddof=1)) / math.sqrt(len(stay.values) / 3)
    for classes in _FEWEST_CLASSES:
        chance = chance_loss(classes)
        near = all(-3 * error < mean - chance < max(_BY_MEAN * chance, 3 * error) for mean in means)
        if near and error < _BY_MEAN * chance and abs(float(np.mean(means)) / chance - 1) < _BY_MEAN:
            return classes
    return None


def _common(track: Track, level: float) -> _Found | None:
    """Return a common number of classes at whose chance level a loss is, also that of a weighted sum of heads."""
    weights = (1.0, *WEIGHTS) if track.name == TOTAL else (1.0,)
    for weight in weights:
        for classes in _COMMON:
            within = 0.004 if weight == 1 else 0.002
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
        never_learned=stay.best >= _LEARNED,
        before=None if stay.best >= _LEARNED else float(track.finite[stay.first - 1]),
        loss=stay.level,
    )
