"""Infer how many classes a softmax has from its losses alone: a head at chance level stays at ln(classes)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.diagnosis.conditions import chance_loss
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.logged.levels import falling_at_end, noise_of
from harness.diagnosis.logged.rises import Rise
from harness.diagnosis.logged.tracks import Track
from harness.diagnosis.robust_stats import Floats

TIGHT = 0.02  # relative noise: a constant answer has (nearly) the same loss for every batch
_MOST_CLASSES = 1_000_000
_LN_MOST = math.log(_MOST_CLASSES)
_EXACTLY, _DIGITS = 3, 6  # so many displays do not agree by chance to the last of the digits that Caffe prints
_MOST_PRINTED = 40_000  # classes whose logarithms six digits distinguish
_EXACT = 20  # up to so many classes the neighbours ln(K ± 1) are far enough apart for a single level to identify K
_AGREE = 0.01  # relative difference between heads at chance level for the same classes
EQUAL = 0.003  # relative difference between heads whose agreement is no chance
_BACK = 0.05  # relative distance from ln(classes) at which a new classifier begins
_SATURATED_START = 0.95  # of 87.3365, where a net may begin
_FLAT_FROM = 5  # displays below which nothing is flat
_TIGHTER = 0.005  # relative noise of fewer than _FLAT_FOR_SURE displays, and of a run whose start is not in the log
_FLAT_FOR_SURE = 9
LATER = 200  # displays that show the level that a loss always had


@dataclass(frozen=True)
class Level:
    """The level of a track at its end, known to within `error`.

    `spread` is the relative noise of a single iteration, None where the `values` are too few.
    """

    value: float
    error: float
    spread: float | None
    values: Floats


def level_of(values: Floats, span: int = 1) -> Level:
    """Return the level of values that are means over `span` losses each."""
    if not len(values):
        return Level(math.nan, math.nan, None, values)
    value = float(np.median(values))
    noise = noise_of(values)
    spread = noise * math.sqrt(span) / abs(value) if len(values) >= 4 and value else None
    return Level(value, 0.0 if math.isnan(noise) else 1.25 * noise / math.sqrt(len(values)), spread, values)


def printed_as(values: Floats, classes: int) -> bool:
    """Check whether the last three displays are ln(classes) to the last digit printed."""
    if len(values) < _EXACTLY or classes < 2:
        return False
    level = chance_loss(classes)
    unit = 10.0 ** (math.floor(math.log10(level)) - _DIGITS + 1)
    return bool(np.all(np.abs(values[-_EXACTLY:] - level) < unit))


def is_flat(track: Track) -> bool:
    """Check whether a loss always was what it is at the end."""
    values = track.finite
    # a start at 87.3365 and a first display mean little
    away = np.flatnonzero(values < _SATURATED_START * track.saturated)
    values = values[max(int(away[0]), 1) :] if len(away) else values
    if len(values) < _FLAT_FROM or falling_at_end(values):
        return False
    half = level_of(values[len(values) // 2 :][-LATER:])
    first = level_of(values[: max(3, len(values) // 10)])
    # a loss that still falls at the start looks noisy there
    return abs(first.value - half.value) <= max(0.02 * abs(half.value), min(3 * first.error, _BACK * abs(half.value)))


def with_classes(
    tracks: Sequence[Track], rises: Sequence[Rise | None], ends: Sequence[Level], limits: Limits
) -> list[Track]:
    """Return the tracks with the number of classes where the losses themselves show it: a plateau at ln(classes)."""
    still = [rise is not None or is_flat(track) for track, rise in zip(tracks, rises, strict=True)]
    levels = [end.value for end, stays in zip(ends, still, strict=True) if stays]
    found = []
    for track, rise, end, stays in zip(tracks, rises, ends, still, strict=True):
        exact = round(math.exp(min(max(end.value, 0.0), _LN_MOST))) if math.isfinite(end.value) else 0
        if track.chance is None and exact < _MOST_PRINTED and printed_as(track.finite, exact):
            found.append(_inferred(track, exact, False))
            continue
        alike = [level for level in levels if abs(level - end.value) < _AGREE * abs(end.value)]
        # the number given with --classes may be of another head
        given = track.source == "given" and abs(end.value / (track.chance or 1) - 1) > _BACK
        unknown = (track.chance is None or given) and 0.99 * math.log(2) < end.value < _LN_MOST
        if stays and unknown and _is_chance_level(track, rise, end, alike, len(tracks), limits):
            level = float(np.median(alike))
            classes = round(math.exp(level))
            unsure = max(end.error, *(abs(other - level) for other in alike))
            # neighbours are 1 / classes apart
            track = _inferred(track, classes, unsure > 0.25 / classes)
        found.append(track)
    return found


def _inferred(track: Track, classes: int, approximate: bool) -> Track:
    return replace(track, classes=classes, source="inferred", chance=chance_loss(classes), approximate=approximate)


def _is_chance_level(
    track: Track, rise: Rise | None, end: Level, alike: Sequence[float], heads: int, limits: Limits
) -> bool:
    """Check whether a plateau, of a loss of any kind, is that of a softmax at chance level.

    A level alone means little: every loss above 3 is near the logarithm of some number. The evidence is that all
    batches have the same loss, that all heads do, or that it is the loss that the run began with.

    Args:
        alike: levels of the heads at the same level, this one included.
        heads: how many there are in all.
    """
    level = float(np.median(alike))
    off = abs(level - chance_loss(round(math.exp(level))))
    near = off <= limits.uniform_collapse.within * level + 2 * end.error
    few = len(track.finite) < _FLAT_FOR_SURE
    tight = end.spread is not None and end.spread < (_TIGHTER if few else TIGHT)
    if end.spread is not None and not tight:
        return False
    evident = tight and (near or math.exp(level) > _EXACT)
    if rise is None:
        always = end.spread is not None and end.spread < _TIGHTER and len(track.finite) >= 2 * _FLAT_FROM
        resumed = track.resumed and evident and always
        return resumed or (track.fresh and (evident or (len(alike) > 1 and near)))
    back = track.fresh and abs(level - track.finite[0]) < _BACK * level and (near or len(alike) > 1)
    agree = 1 < len(alike) == heads and max(alike) - min(alike) < EQUAL * level
    settled = len(end.values) > 1 and float(np.ptp(end.values)) < TIGHT * level
    return rise.sudden and (evident or (back and (rise.certain or settled)) or agree)
