"""Find the onset: the first iteration whose update makes a run worse for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.diagnosis.departures import OFTEN, Departure, began, is_usual, last_departure, stays
from harness.diagnosis.recorded.evidence_text import (
    BASELINE_BLOCKS,
    MIN_BLOCK,
    gradient_evidence,
    loss_evidence,
    nonfinite_evidence,
)
from harness.diagnosis.robust_stats import SIGMA, Bools, Floats, logarithm, total_norm
from harness.schemas.layout import Alarm
from harness.schemas.onset import Onset

_MAX_BLOCK = 200  # iterations in a block, at most: few enough to locate a jump
_HISTORY = 30  # blocks that show how much the level jitters
_GAP = 5  # iterations: excursions as close as this belong together…
_NONFINITE_GAP = 2  # …and those that lead up to a NaN are closer: it is reached by a run of ever larger steps
_OUTLIER = 5.0  # standard deviations beyond which a value has left its baseline

Iterations = npt.NDArray[np.integer]


@dataclass(frozen=True)
class _Levels:
    """Medians of the loss over blocks of iterations.

    Block k is rows start[k] … stop[k] - 1; the last block always ends with the last row.
    """

    start: npt.NDArray[np.intp]
    stop: npt.NDArray[np.intp]
    median: Floats
    mad: Floats


def span_of(display: int) -> int:
    """Return the iterations over which a level is taken: the display interval, or 40 where nothing is displayed."""
    return display if display > 0 else 40


def find_onset(
    iterations: Iterations,
    loss: Floats,
    gradient_l2: Floats | None,
    nonfinite: npt.NDArray[np.generic] | None,
    span: int,
    labels: Sequence[str] | None = None,
    active: Sequence[Alarm] = (),
) -> Onset | None:
    """Find the onset of a divergence; None for a run that is healthy so far.

    A run is damaged where a gradient is not finite, where the loss is not finite and stays so, or where the level of
    the loss (its median over a block of about `span` iterations) rises and never comes back: every later level lies
    above the best level before by a third, by more than two MADs of the noise of single iterations, by more than the
    level has wandered before, and by 2 % of all that the loss has fallen since the first block. From there the onset
    is traced back to the iteration at which the loss or the gradient norm first left its baseline. A spike that
    recovers is no damage; one from which the run has not recovered yet is.

    It takes 15 ms for 120,000 iterations and 128 blobs, so that it can be repeated every few seconds of a run.

    Args:
        iterations: (T,) ascending.
        loss: (T,) of single iterations, not smoothed.
        gradient_l2: (T, P) norms of each param blob's gradient.
        nonfinite: (T, P) numbers of NaN or infinite elements of each param blob's gradient, or whether there are any.
        span: iterations over which a level is taken: the solver's display interval (0: 40).
        labels: (P,) names of the param blobs.
        active: alarms of divergences whose damage is still there; no onset comes after the first of them, unless the
            levels of the loss, which are all that it is about, show a later departure.
    """
    loss = np.asarray(loss, np.float64)
    onset = _lasting_damage(iterations, loss, gradient_l2, nonfinite, span, labels)
    if active and len(loss):
        alarm = active[0]
        young = iterations[-1] - alarm.iteration < MIN_BLOCK
        slack = 2 * level_width(span) if alarm.rule == "loss_jump" else len(loss)
        late = onset is None or 0 < onset.iteration - alarm.iteration <= slack
        if late or (young and np.isfinite(loss[-1])):
            return _onset_before(iterations, loss, alarm, span)
    return onset


def _lasting_damage(
    iterations: Iterations,
    loss: Floats,
    gradient_l2: Floats | None,
    nonfinite: npt.NDArray[np.generic] | None,
    span: int,
    labels: Sequence[str] | None,
) -> Onset | None:
    width = block_width(len(loss), span)
    broken = _first_nonfinite(loss, gradient_l2, nonfinite)
    rise = _sustained_rise(_levels(loss, width), loss)
    if rise is None and broken is None:
        return None
    # with NaN at the end, the rise before it may be too short to be a level
    anchor = min(row for row in (rise, broken) if row is not None)
    row = _first_excursion(loss, gradient_l2, anchor, width, _GAP if rise == anchor else _NONFINITE_GAP)
    evidence = []
    if broken is None or row < broken:
        evidence.append(loss_evidence(loss, row, width))
        evidence += gradient_evidence(iterations, gradient_l2, row, labels)
    if broken is not None:
        bad = _nonfinite_gradients(gradient_l2, nonfinite, broken)
        evidence.append(nonfinite_evidence(iterations, loss, bad, broken, labels))
    return Onset(int(iterations[row]), "; ".join(evidence))


def _onset_before(iterations: Iterations, loss: Floats, alarm: Alarm, span: int) -> Onset:
    """Find the onset behind an alarm on the loss whose rise is too small, or too young, to show as lasting."""
    width = block_width(len(loss), span)
    row = min(int(np.searchsorted(iterations, alarm.iteration)), len(loss) - 1)  # a damaged file may have lost its rows
    first = max(0, row - _MAX_BLOCK)
    before = float(np.median(loss[first : max(first + 1, row - width)]))
    limit = (before + float(np.median(loss[row : row + width]))) / 2
    start = min(row, first + _split(loss[first : row + 1], limit))
    row = _first_excursion(loss, None, start, width, _NONFINITE_GAP)
    evidence = f"{loss_evidence(loss, row, width)}; alarm {alarm.rule} at iteration {alarm.iteration}"
    return Onset(int(iterations[row]), evidence)


def level_width(span: int) -> int:
    """Return the iterations whose median is a level, for a display interval of `span` iterations (0: 40)."""
    return max(min(span_of(span), _MAX_BLOCK), MIN_BLOCK)


def block_width(count: int, span: int) -> int:
    """Return the iterations in a block, of a run of `count` iterations."""
    return max(min(level_width(span), count // 4), MIN_BLOCK)


# -- the damage ------------------------------------------------------------------------------------------------------


def _first_nonfinite(loss: Floats, gradient_l2: Floats | None, nonfinite: npt.NDArray[np.generic] | None) -> int | None:
    """Find the first row with a gradient that is not finite, or from which on no loss is finite."""
    rows = []
    finite = np.flatnonzero(np.isfinite(loss))
    after = int(finite[-1]) + 1 if len(finite) else 0
    if after < len(loss):
        rows.append(after)
    if nonfinite is not None:
        if len(nonfinite) and np.any(nonfinite):
            rows.append(int(np.flatnonzero(np.any(nonfinite, axis=1))[0]))
    elif gradient_l2 is not None and not np.isfinite(np.sum(gradient_l2)):
        bad = np.flatnonzero(~np.isfinite(gradient_l2).all(axis=1))
        rows += [int(bad[0])] if len(bad) else []
    return min(rows, default=None)


def _nonfinite_gradients(gradient_l2: Floats | None, nonfinite: npt.NDArray[np.generic] | None, row: int) -> Bools:
    """(P,) Return which gradients are not finite at `row`."""
    if nonfinite is not None:
        return np.asarray(nonfinite[row]).astype(bool)
    return np.asarray(~np.isfinite(gradient_l2[row])) if gradient_l2 is not None else np.zeros(0, bool)


def _levels(loss: Floats, width: int) -> _Levels:
    """Return the loss in blocks of `width`; a loss that is not finite counts as infinite."""
    whole = len(loss) // width
    start = np.arange(whole) * width
    if whole and len(loss) % width:
        start = np.append(start, len(loss) - width)
    blocks = np.where(np.isfinite(loss), loss, np.inf)[start[:, None] + np.arange(width)]
    median = np.median(blocks, axis=1) if len(blocks) else np.empty(0)
    with np.errstate(invalid="ignore"):
        off = np.nan_to_num(np.abs(blocks - median[:, None]), nan=0.0, posinf=np.inf)
    return _Levels(start, start + width, median, np.median(off, axis=1) if len(blocks) else np.empty(0))


def _sustained_rise(levels: _Levels, loss: Floats) -> int | None:
    """Find the row at which the loss changes to levels that never recover, to within a block."""
    count = len(levels.median)
    if not count:
        return None
    width = int(levels.stop[0] - levels.start[0])
    smooth = _running_median(levels.median, 3)  # of three levels, so that one lucky block is not the reference
    finite_mad = np.where(np.isfinite(levels.mad), levels.mad, 0.0)
    best, at = _running_minimum(smooth)
    # the standard error of a block's median is 1.25 sigma / sqrt(width)
    spread = _running_median(finite_mad, BASELINE_BLOCKS)[at] * max(2.0, 12 / np.sqrt(width))
    with np.errstate(invalid="ignore"):
        fallen = np.nan_to_num(smooth[0] - best, nan=0.0)
    margin = np.maximum(np.maximum(np.abs(best) / 3, spread), np.maximum(0.02 * fallen, 1e-12))
    departure = last_departure(smooth, levels.median, margin)
    if departure is not None:
        # where the level has always wandered up and down, wandering is no damage
        stop = int(at[departure.last]) + 1
        here = np.full(stop, True)
        if len(stays(levels.median, departure)) < OFTEN:  # it was on an excursion
            here = levels.median[:stop] <= (departure.best + departure.end) / 2
        margin = np.maximum(margin, _wander(levels.median[:stop][here], best[:stop][here]))
        departure = last_departure(smooth, levels.median, margin)
    if departure is not None and not is_usual(levels.median, departure):
        last, before = _foot(levels.median, smooth, departure, margin)
        # the block after it may be half and half
        lowest = min(float(np.min(levels.median[min(last + 2, count - 1) :])), departure.top)
        return _change(loss, levels, last + 1, before, lowest, float(margin[last]))
    return _rise_from_the_start(loss, float(np.min(levels.median)), float(np.median(finite_mad)))


def _foot(level: Floats, smooth: Floats, departure: Departure, margin: Floats) -> tuple[int, float]:
    """Return the last block before the rise, and the level there; of a gradual rise, where the climb left its base."""
    last = departure.last
    if departure.sudden:
        return last, float(smooth[last])
    least = 0.5 * float(margin[last])
    start = began(smooth, last, least)
    near = np.flatnonzero(level[start : last + 1] <= departure.base + least)
    return start + (int(near[-1]) if len(near) else 0), departure.base


def _wander(level: Floats, best: Floats) -> float:
    """Return how far a healthy level has risen: by how far it was above the best before, and by its jitter."""
    with np.errstate(invalid="ignore"):
        risen = np.quantile(level - best, 0.75)
        jitter = np.median(np.abs(np.diff(level[-_HISTORY:], 2))) if len(level) > BASELINE_BLOCKS else 0.0
    return float(np.nan_to_num(max(2 * risen, 3 * jitter), nan=0.0, posinf=0.0))


def _running_median(values: Floats, count: int) -> Floats:
    """Return the median of each value and the `count` - 1 before it, or as many as there are."""
    head = [np.median(values[: k + 1]) for k in range(min(count - 1, len(values)))]
    if len(values) < count:
        return np.array(head)
    return np.append(head, np.median(np.lib.stride_tricks.sliding_window_view(values, count), axis=1))


def _running_minimum(values: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Return the smallest value so far, and its position."""
    best = np.minimum.accumulate(values)
    new = np.append(True, best[1:] < best[:-1])
    return best, np.maximum.accumulate(np.where(new, np.arange(len(values)), 0))


def _change(loss: Floats, levels: _Levels, k: int, before: float, after: float, margin: float) -> int:
    """Return the row in or before block `k` that best separates the old level from the new one."""
    limit = (before + after) / 2 if np.isfinite(after) else before + 4 * margin  # what leads up to a NaN is no noise
    first, stop = int(levels.start[max(0, k - 1)]), int(levels.stop[min(k + 1, len(levels.stop) - 1)])
    return min(first + _split(loss[first:stop], limit), len(loss) - 1)


def _split(loss: Floats, limit: float) -> int:
    """Return the row with the fewest highs before it and lows after it."""
    high = ~(loss <= limit)
    balance = np.append(0, np.cumsum(np.where(high, 1, -1)))
    return int(np.flatnonzero(balance == balance.min())[-1])


def _rise_from_the_start(loss: Floats, lowest: float, noise: float) -> int | None:
    """Find the rise of a run that breaks within its first block, as one restarted at too high a rate."""
    head = loss[:5]
    level = float(np.median(head))
    if not np.isfinite(level) or not lowest > level + max(level, 15 / np.sqrt(len(head)) * noise):
        return None
    finite = np.where(np.isfinite(loss), loss, np.inf)
    limit = level + min(lowest - level, 2 * level) / 2
    below = np.flatnonzero(finite[: _MAX_BLOCK + 1] <= limit)
    return int(below[-1]) + 1


# -- its beginning ---------------------------------------------------------------------------------------------------


def _first_excursion(loss: Floats, gradient_l2: Floats | None, anchor: int, width: int, gap: int) -> int:
    """Trace back from row `anchor` to the first of the excursions that lead up to it, at most a block before it."""
    first, from_ = max(0, anchor - width), max(0, anchor - (BASELINE_BLOCKS + 1) * width)
    far = _far(loss, from_, first, anchor)
    if gradient_l2 is not None and gradient_l2.size:
        length = total_norm(gradient_l2[from_ : anchor + 1])
        far |= _far(logarithm(length), 0, first - from_, anchor - from_)
    row = anchor
    for candidate in range(anchor, first - 1, -1):
        if row - candidate > gap:
            break
        if far[candidate - first]:
            row = candidate
    return row


def _far(values: Floats, from_: int, first: int, anchor: int) -> Bools:
    """Check which of the rows first … anchor lie far above the baseline, the rows from_ … first - 1."""
    baseline = values[from_:first]
    baseline = baseline[np.isfinite(baseline)]
    tail = values[first : anchor + 1]
    if len(baseline) < MIN_BLOCK:
        # too near the beginning: only what is not finite is far
        return ~np.isfinite(tail)
    centre = np.median(baseline)
    sigma = SIGMA * float(np.median(np.abs(baseline - centre)))
    # noise has tails: values that occur often enough belong to the baseline
    limit = max(centre + _OUTLIER * sigma, float(np.quantile(baseline, 0.99)))
    return ~(tail <= limit)
