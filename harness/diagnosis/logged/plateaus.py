"""How many classes a softmax has, where only its losses tell: a net that knows nothing stands at ln(classes)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.diagnosis.live.limits import Limits
from harness.diagnosis.logged.levels import Floats, noise_of
from harness.diagnosis.logged.rises import Rise
from harness.diagnosis.logged.tracks import Track

TIGHT = 0.02  # relative noise: a net that answers the same for every image has (nearly) the same loss for every batch
_MOST_CLASSES = 1_000_000
_LN_MOST = math.log(_MOST_CLASSES)
_EXACTLY, _DIGITS = 3, 6  # displays that are no chance to the last of the digits that Caffe prints
_MOST_PRINTED = 40_000  # classes whose logarithms six digits tell apart
_EXACT = 20  # up to so many classes the neighbours ln(K ± 1) are far enough for a single level to tell K
_AGREE = 0.01  # heads that know nothing of the same classes
EQUAL = 0.003  # heads whose agreement is no chance
_BACK = 0.05  # a new classifier begins so close to ln(classes)
_SATURATED_START = 0.95  # of 87.3365: there a net may begin
_FLAT_FROM = 5  # displays below which nothing is flat
_TIGHTER = 0.005  # the same, of fewer than _FLAT_FOR_SURE displays, and of a run whose start is not in the log
_FLAT_FOR_SURE = 9
LATER = 200  # displays that say how a loss always was


@dataclass(frozen=True)
class Level:
    """How a track ends: `value` is known to within `error`; `spread` is the relative noise of a single iteration,
    None where the `values` are too few to tell."""

    value: float
    error: float
    spread: float | None
    values: Floats


def level_of(values: Floats, window: int = 1) -> Level:
    if not len(values):
        return Level(math.nan, math.nan, None, values)
    value = float(np.median(values))
    noise = noise_of(values)
    spread = noise * math.sqrt(window) / abs(value) if len(values) >= 4 and value else None
    return Level(value, 0.0 if math.isnan(noise) else 1.25 * noise / math.sqrt(len(values)), spread, values)


def printed_as(values: Floats, classes: int) -> bool:
    """Are the last three displays ln(classes) to the last digit printed?"""
    if len(values) < _EXACTLY or classes < 2:
        return False
    level = math.log(classes)
    unit = 10.0 ** (math.floor(math.log10(level)) - _DIGITS + 1)
    return bool(np.all(np.abs(values[-_EXACTLY:] - level) < unit))


def is_flat(track: Track) -> bool:
    """Was it always what it is at the end?"""
    values = track.finite
    # a start at 87.3365 and a first display say little
    away = np.flatnonzero(values < _SATURATED_START * track.saturated)
    values = values[max(int(away[0]), 1) :] if len(away) else values
    if len(values) < _FLAT_FROM:
        return False
    half = level_of(values[len(values) // 2 :][-LATER:])
    first = level_of(values[: max(3, len(values) // 10)])
    return abs(first.value - half.value) <= max(0.02 * abs(half.value), 3 * first.error)


def with_classes(
    tracks: Sequence[Track], rises: Sequence[Rise | None], ends: Sequence[Level], limits: Limits
) -> list[Track]:
    """The tracks, with the number of classes where the losses themselves give it away: a plateau at ln(classes)."""
    still = [rise is not None or is_flat(track) for track, rise in zip(tracks, rises, strict=True)]
    levels = [end.value for end, stays in zip(ends, still, strict=True) if stays]
    found = []
    for track, rise, end, stays in zip(tracks, rises, ends, still, strict=True):
        exact = round(math.exp(min(max(end.value, 0.0), _LN_MOST))) if math.isfinite(end.value) else 0
        if track.uniform is None and exact < _MOST_PRINTED and printed_as(track.finite, exact):
            found.append(_of(track, exact, False))
            continue
        alike = [level for level in levels if abs(level - end.value) < _AGREE * abs(end.value)]
        # what --classes says may be another head's
        given = track.source == "given" and abs(end.value / (track.uniform or 1) - 1) > _BACK
        unknown = (track.uniform is None or given) and 0.99 * math.log(2) < end.value < _LN_MOST
        if stays and unknown and _is_ignorance(track, rise, end, alike, len(tracks), limits):
            level = float(np.median(alike))
            classes = round(math.exp(level))
            unsure = max(end.error, *(abs(other - level) for other in alike))
            # neighbours are 1 / classes apart
            track = _of(track, classes, unsure > 0.25 / classes)
        found.append(track)
    return found


def _of(track: Track, classes: int, about: bool) -> Track:
    return replace(track, classes=classes, source="inferred", uniform=math.log(classes), about=about)


def _is_ignorance(
    track: Track, rise: Rise | None, end: Level, alike: Sequence[float], heads: int, limits: Limits
) -> bool:
    """Is this plateau, of a loss of any kind, that of a softmax that knows nothing? `alike`: heads at the same level.

    A level alone tells little, every loss above 3 is near the logarithm of some number. What tells is that all batches
    have the same loss, that all heads do, or that it is the loss that the run began with.
    """
    level = float(np.median(alike))
    off = abs(level - math.log(round(math.exp(level))))
    near = off <= limits.uniform_collapse.within * level + 2 * end.error
    few = len(track.finite) < _FLAT_FOR_SURE
    tight = end.spread is not None and end.spread < (_TIGHTER if few else TIGHT)
    if end.spread is not None and not tight:
        return False
    told = tight and (near or math.exp(level) > _EXACT)
    if rise is None:
        always = end.spread is not None and end.spread < _TIGHTER and len(track.finite) >= 2 * _FLAT_FROM
        resumed = track.resumed and told and always
        return resumed or (track.fresh and (told or (len(alike) > 1 and near)))
    back = track.fresh and abs(level - track.finite[0]) < _BACK * level and (near or len(alike) > 1)
    agree = 1 < len(alike) == heads and max(alike) - min(alike) < EQUAL * level
    settled = len(end.values) > 1 and float(np.ptp(end.values)) < TIGHT * level
    return rise.sudden and (told or (back and (rise.certain or settled)) or agree)
