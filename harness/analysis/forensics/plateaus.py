"""How many classes a softmax has, where only its losses tell: a net that knows nothing stands at ln(classes)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.analysis.forensics.levels import Floats, Rise, noise_of
from harness.analysis.forensics.tracks import Track
from harness.analysis.rules.limits import Limits

TIGHT = 0.02  # relative noise: a net that answers the same for every image has (nearly) the same loss for every batch
_MOST_CLASSES = 1_000_000
_EXACT = 20  # up to so many classes the neighbours ln(K ± 1) are far enough for a single level to tell K
_AGREE = 0.01  # heads that know nothing of the same classes
_EQUAL = 0.003  # heads whose agreement is no chance
_BACK = 0.05  # a new classifier begins so close to ln(classes)
_SATURATED_START = 0.95  # of 87.3365: there a net may begin
_FEW = 9  # displays below which nothing is flat
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


def is_flat(track: Track) -> bool:
    """Was it always what it is at the end?"""
    values = track.finite
    # a start at 87.3365 and a first display say little
    away = np.flatnonzero(values < _SATURATED_START * track.saturated)
    values = values[max(int(away[0]), 1) :] if len(away) else values
    if len(values) < _FEW:
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
        alike = [level for level in levels if abs(level - end.value) < _AGREE * abs(end.value)]
        unknown = track.uniform is None and 0.99 * math.log(2) < end.value < math.log(_MOST_CLASSES)
        if stays and unknown and _is_ignorance(track, rise, end, alike, len(tracks), limits):
            level = float(np.median(alike))
            classes = round(math.exp(level))
            unsure = max(end.error, *(abs(other - level) for other in alike))
            # neighbours are 1 / classes apart
            track = replace(
                track,
                classes=classes,
                source="inferred",
                uniform=math.log(classes),
                about=unsure > 0.25 / classes,
            )
        found.append(track)
    return found


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
    tight = end.spread is not None and end.spread < TIGHT
    if end.spread is not None and not tight:
        return False
    told = tight and (near or math.exp(level) > _EXACT)
    if rise is None:
        return track.fresh and (told or (len(alike) > 1 and near))
    back = track.fresh and abs(level - track.finite[0]) < _BACK * level and (near or len(alike) > 1)
    agree = 1 < len(alike) == heads and max(alike) - min(alike) < _EQUAL * level
    return rise.sudden and (told or back or agree)
