"""What a rule is shown: some iterations, those before them, and what was usual until then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.analysis.rules.limits import Limits
from harness.analysis.rules.rows import Floats, Names, Rows

_SIGMA = 1.4826  # standard deviations in a MAD, of normal noise


@dataclass(frozen=True)
class Usual:
    """What was usual in the last window of iterations."""

    loss_median: float
    loss_far: float  # so many standard deviations of its noise above it
    gradient_median: Floats  # (P,)
    gradient_max: Floats  # (P,)


@dataclass(frozen=True)
class Past:
    """What a rule must remember of a run for longer than a window."""

    first: int  # the run's first iteration
    start: float  # median of its first losses
    best: float  # the lowest level of the loss, NaN while none is known
    calm: float  # the lowest loss that was ever far above a level, likewise
    best_heads: Floats  # (H,) the lowest level of each head


@dataclass(frozen=True)
class Block:
    """Iterations `rows`, with at most a window of those `before`; `usual` is None while there are too few of those."""

    rows: Rows
    before: Rows
    usual: Usual | None
    past: Past
    names: Names

    @staticmethod
    def last(rows: Floats, before: Floats, count: int) -> Floats:
        """(n, …, count) each row and those before it; NaN before the first."""
        lead = before[max(0, len(before) - count + 1) :]
        missing = np.full((count - 1 - len(lead), *rows.shape[1:]), np.nan)
        return np.lib.stride_tricks.sliding_window_view(np.concatenate([missing, lead, rows]), count, axis=0)


@dataclass(frozen=True)
class Hits:
    """Where a rule's condition holds: n iterations by S subjects, with the value and the limit that it passed.

    It takes `in_a_row` of them to raise an alarm.
    """

    rule: str
    subjects: tuple[str, ...]
    hit: npt.NDArray[np.bool_]  # (n, S)
    value: Floats  # (n, S)
    limit: Floats  # (n, S), or what broadcasts to it
    in_a_row: int = 1


def usual_of(before: Rows, limits: Limits) -> Usual | None:
    """What is usual, or None where a tenth of a window has not passed."""
    loss = before.loss[-limits.loss_jump.window :]
    loss = loss[np.isfinite(loss)]
    if len(before) < limits.loss_jump.window // 10 or not len(loss):
        return None
    median = float(np.median(loss))
    # from one iteration to the next, so that a loss on its way down is not taken for a noisy one
    sigma = _SIGMA * float(np.median(np.abs(np.diff(loss)))) / np.sqrt(2) if len(loss) > 1 else 0.0
    high = before.gradient_l2[-limits.gradient_explosion.window :]
    low = before.gradient_l2[-limits.vanishing_gradient.window :]
    return Usual(
        loss_median=median,
        loss_far=median + limits.loss_jump.sigmas * sigma,
        gradient_median=np.median(low, axis=0),
        gradient_max=high.max(axis=0, initial=0),
    )
