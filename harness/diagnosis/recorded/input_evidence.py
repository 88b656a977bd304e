"""Find what was unusual about the inputs at an onset, and describe it with numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from harness.diagnosis.label_order import long_runs
from harness.diagnosis.live.rows import Names, Rows
from harness.diagnosis.live.rules import new_nonfinite_inputs
from harness.diagnosis.robust_stats import Floats, logarithm, outside
from harness.schemas.layout import INPUT_STATS
from harness.schemas.onset import Onset

_STAT = {name: row for row, name in enumerate(INPUT_STATS)}
INPUT_ROWS = 200  # iterations before an onset that make the baseline of its inputs
_MIN_ROWS = 16
_SURPRISE = 25.0  # as of the rule label_runs
_PATIENCE = 3  # iterations: a batch does its damage at once, and an onset may be dated a little early


@dataclass(frozen=True)
class UnusualInput:
    """The input blob `name` left its baseline; `sentence` says when and how far.

    `not_finite_at` is the iteration of a batch with NaN or infinite values; None of other evidence.
    """

    name: str
    sentence: str
    not_finite_at: int | None = None


def with_evidence(onset: Onset, unusual: UnusualInput | None) -> Onset:
    """Return `onset` with what was unusual about an input, which comes first in an iteration.

    A batch with NaN or infinite values is the onset itself, not the iteration before from which noise made it seem to
    come.
    """
    if unusual is None:
        return onset
    found = replace(onset, reason=f"{onset.reason}; {unusual.sentence}", blob=unusual.name)
    if unusual.not_finite_at is None or unusual.not_finite_at <= onset.iteration:
        return found
    reason = "; ".join(
        clause for clause in found.reason.split("; ") if not clause.startswith(("loss ", "gradient norm"))
    )
    return replace(found, iteration=unusual.not_finite_at, reason=reason)


def unusual_input(onset: int, rows: Rows, names: Names) -> UnusualInput | None:
    """Find the first input that is not finite or left its baseline at the onset or just after.

    Args:
        onset: the iteration.
        rows: consecutive iterations with the onset among them, and as many as there are of INPUT_ROWS before it.
    """
    at = int(np.searchsorted(rows.iteration, onset))
    if at == len(rows) or rows.iteration[at] != onset:  # not among them
        return None
    for row in range(at, min(at + _PATIENCE, len(rows))):
        before = rows[max(0, at - INPUT_ROWS) : at]
        now = rows[row : row + 1]
        number = int(now.iteration[0])
        for column in np.flatnonzero(new_nonfinite_inputs(now, rows[:row])[0]):
            count, name = int(now.nonfinite_inputs[0, column]), names.inputs[column]
            many = f"{count:,} elements of input {name} are" if count > 1 else f"an element of input {name} is"
            return UnusualInput(name, f"{many} not finite at iteration {number:,}", number)
        if len(before) < _MIN_ROWS:
            continue
        for column in np.flatnonzero(names.measured):
            text = _range_evidence(before.inputs[:, :, column], now.inputs[0, :, column], len(before))
            if text is not None:
                name = names.inputs[column]
                return UnusualInput(name, text.format(name=name, iteration=f"{number:,}"))
    return _label_evidence(onset, rows, names)


def _range_evidence(before: Floats, now: Floats, count: int) -> str | None:
    """Describe how the values of an input (4,) differ from those before (n, 4); None where they do not.

    The text has places for {name} and {iteration}.
    """
    old, new = _magnitudes(before), _magnitudes(now[None])[0]
    known = np.isfinite(old).all(axis=1)
    if known.sum() < _MIN_ROWS or not np.isfinite(new).all():
        return None
    old = old[known]
    far = outside(logarithm(old), logarithm(new))
    (top, mean), (top_before, mean_before) = new, old.max(axis=0)
    of = f"of the {count} before"
    if far[0] and top > top_before:
        times = f"{_times(top / top_before)} times the largest {of}" if top_before > 0 else f"and all {of} are 0"
        return f"the largest value in input {{name}} at iteration {{iteration}}, {top:.4g}, is {times}"
    if far.any() and now[_STAT["minimum"]] == now[_STAT["maximum"]]:
        return f"all values in input {{name}} at iteration {{iteration}} are {now[_STAT['maximum']]:.4g}"
    if far[1] and mean > mean_before > 0:
        times = f"{_times(mean / mean_before)} times the largest {of}"
        return f"the mean magnitude of input {{name}} at iteration {{iteration}}, {mean:.4g}, is {times}"
    lowest = float(old[:, 1].min())
    if far[1] and mean < lowest:
        share = f"{_times(lowest / mean)} times smaller than the smallest {of}" if mean > 0 else "0"
        return f"the mean magnitude of input {{name}} at iteration {{iteration}}, {mean:.4g}, is {share}"
    return None


def _label_evidence(onset: int, rows: Rows, names: Names) -> UnusualInput | None:
    """Find labels that were all the same in many batches up to the onset, in which others follow."""
    for column in np.flatnonzero(~names.measured):
        low, high = rows.inputs[:, _STAT["minimum"], column], rows.inputs[:, _STAT["maximum"], column]
        known = np.isfinite(low + high)
        for run in long_runs(rows.iteration[known], low[known], high[known], _SURPRISE):
            if onset - 1 <= run.last < onset + _PATIENCE:
                name = names.inputs[column]
                which = f"of iterations {run.first:,} to {run.last:,} are all {run.label:g}"
                return UnusualInput(name, f"the labels ({name}) {which}, and then others follow")
    return None


def _magnitudes(stats: Floats) -> Floats:
    """(n, 2) Return the largest and the mean magnitude of statistics (n, 4)."""
    largest = np.maximum(np.abs(stats[:, _STAT["minimum"]]), np.abs(stats[:, _STAT["maximum"]]))
    return np.stack([largest, stats[:, _STAT["mean_abs"]]], axis=1)


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"
