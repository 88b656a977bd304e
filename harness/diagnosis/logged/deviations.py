"""Find what leaves the level of a loss and returns: spikes, excursions, swings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.diagnosis.approach import turns
from harness.diagnosis.conditions import Condition, chance_loss
from harness.diagnosis.departures import FLOOR
from harness.diagnosis.logged.displays import Displays
from harness.diagnosis.logged.findings import Deviations, Excursion, HeadFinding, Recovery, Spike
from harness.diagnosis.logged.levels import KNOWN, noise_of, relative_noise, running_median
from harness.diagnosis.logged.tracks import Track
from harness.diagnosis.robust_stats import Floats, Ints

_AROUND = 5  # displays on either side that make the baseline
_FAR = 8.0  # standard deviations
_HELD = 4  # displays from which an excursion is a level rather than a spike
_BESIDE = 10  # displays on either side of an excursion that make its baseline
_NEAR_CHANCE, _STEADY = 0.01, 0.02  # relative distance from ln(classes), and noise, of an excursion to it
_BEGAN = 0.05  # relative distance from the first display
_LN_MOST = math.log(1_000_000)
_BLOCKS = 24  # of displays, whose medians show swings
_SURE = 6.0  # standard errors of such a median
_SWINGS = 4  # down and up, twice


def find_deviations(
    total: Displays,
    lag: int,
    tracks: Sequence[Track],
    heads: Sequence[HeadFinding],
    stop: int,
    *,
    excursions: bool,
    far: bool,
) -> Deviations:
    """Find what left its level before row `stop` of the total and recovered.

    Args:
        excursions: look for them.
        far: the last display is far above the others.
    """
    away = find_excursions(total.iterations, total.values, stop, lag, _chance(tracks)) if excursions else ()
    spikes = tuple(
        spike
        for spike in find_spikes(total.iterations, total.values, stop, lag)
        if not any(e.first <= spike.last and spike.first <= e.last for e in away)
    )
    last = (int(total.iterations[-1]), float(total.values[-1])) if far else None
    return Deviations(spikes, away, _recovery(tracks, heads), last)


def _chance(tracks: Sequence[Track]) -> tuple[float, int] | None:
    """Return the chance level of the total, and the number of classes, where that is the same for all heads."""
    known = {t.classes for t in tracks}
    classes = known.pop() if len(known) == 1 else None
    return (sum(t.weight * (t.chance or 0) for t in tracks), classes) if classes else None


def _recovery(tracks: Sequence[Track], heads: Sequence[HeadFinding]) -> Recovery | None:
    for track, head in zip(tracks, heads, strict=True):
        share = np.where(np.isfinite(track.values), track.values, 0.0) / track.saturated
        # where it is not known to be a softmax, only the exact number counts
        there = np.flatnonzero(np.abs(share - 1) < (1e-4 if track.chance is None else 0.05))
        if len(there) and head.condition not in (Condition.SATURATED, Condition.NON_FINITE):
            return Recovery(track.name, int(track.iterations[there[0]]), int(track.iterations[there[-1]]))
    return None


def find_spikes(iterations: Ints, values: Floats, stop: int, lag: int) -> tuple[Spike, ...]:
    """Find displays before row `stop` that are twice their baseline and far beyond the noise.

    At most as many in a row as make the baseline on either side.
    """
    values = values[:stop]
    around = _AROUND + lag
    if len(values) < 2 * around + 1:
        return ()
    medians = np.median(np.lib.stride_tricks.sliding_window_view(values, around), axis=1)
    middle = np.arange(around, len(values) - around)
    # the higher of what was before and what comes after: a steep fall is no spike
    baseline = np.maximum(medians[middle - around], medians[middle + 1])
    limit = baseline + max(_FAR * relative_noise(values, lag), 1.0) * np.maximum(np.abs(baseline), FLOOR)
    rows = middle[values[middle] > limit]
    groups = np.split(rows, np.flatnonzero(np.diff(rows) > lag) + 1) if len(rows) else []
    return tuple(
        Spike(
            int(iterations[g[0]]),
            int(iterations[g[-1]]),
            float(values[g].max()),
            float(baseline[g[0] - around]),
        )
        for g in groups
    )


def find_excursions(
    iterations: Ints, values: Floats, stop: int, lag: int, chance: tuple[float, int] | None
) -> tuple[Excursion, ...]:
    """Find levels before row `stop` above the best before and the best after them, held for at least _HELD displays.

    Args:
        chance: the chance level of the total, and its number of classes, where known.
    """
    values = values[:stop]
    if len(values) < KNOWN + 2 * lag:
        return ()
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(values, 1, mode="edge"), 3), axis=1)
    before = np.minimum.accumulate(running_median(values, _AROUND))
    after = np.minimum.accumulate(running_median(values[::-1], _AROUND))[::-1]
    baseline = np.maximum(before, after)
    far = max(_FAR * relative_noise(values, lag) / math.sqrt(max(_HELD / lag / 2, 1)), 0.5)
    rows = np.flatnonzero(smooth > baseline + far * np.maximum(np.abs(baseline), FLOOR))
    groups = np.split(rows, np.flatnonzero(np.diff(rows) > lag) + 1) if len(rows) else []
    found = []
    for group in groups:
        start, stop = int(group[0]), int(group[-1]) + 1
        held = values[start:stop]
        near = [v for v in (values[max(0, start - _BESIDE) : start], values[stop : stop + _BESIDE]) if len(v)]
        level, back = float(np.median(held)), max(float(np.median(v)) for v in near)
        if len(held) >= _HELD + lag - 1 and level > back + far * max(abs(back), FLOOR):
            classes = _classes(held[1:-1] if len(held) > _HELD + 1 else held, level, values[0], chance)
            found.append(Excursion(int(iterations[start]), int(iterations[stop - 1]), level, back, classes))
    return tuple(found)


def _classes(held: Floats, level: float, start: float, chance: tuple[float, int] | None) -> int | None:
    """Return the number of classes of which this is the chance level; None if it is not.

    Where the classes are not known, it must be a level without noise, and the one that the run began with.
    """
    if noise_of(held) < _STEADY * level and level > chance_loss(2) * (1 - _NEAR_CHANCE):
        if chance is None:
            near, classes = abs(start / level - 1) < _BEGAN, round(math.exp(min(level, _LN_MOST)))
            return classes if near and abs(level / chance_loss(classes) - 1) < _NEAR_CHANCE else None
        return chance[1] if abs(level / chance[0] - 1) < _NEAR_CHANCE else None
    return None


def far_at_the_end(values: Floats, lag: int) -> bool:
    """Check whether the last display is so far above the baseline that it is a spike, or the beginning of a rise."""
    past = values[: -max(lag, 1)]
    if len(past) < KNOWN + 2 * lag:
        return False
    baseline = float(np.median(past[-_AROUND:]))
    return bool(values[-1] > baseline + max(_FAR * relative_noise(past, lag), 1.0) * max(abs(baseline), FLOOR))


def swings(values: Floats, lag: int) -> bool:
    """Check whether the level goes up and down by half and more, repeatedly, in the last two thirds of the run."""
    values = values[len(values) // 3 :]
    width = max(lag, -(-len(values) // _BLOCKS))
    count = len(values) // width
    if count < _BLOCKS // 3 or np.any(values <= 0):
        return False
    shares = np.log(values)
    level = np.median(shares[: count * width].reshape(count, width), axis=1)
    least = max(math.log(1.5), _SURE * 1.25 * noise_of(shares, lag) / math.sqrt(width / lag))
    return turns(level, least) > _SWINGS
