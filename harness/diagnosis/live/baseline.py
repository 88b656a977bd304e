"""What a rule is shown: some iterations, those before them, and what was usual until then."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from harness.diagnosis.live.limits import Limits, LossJump
from harness.diagnosis.live.rows import Floats, Names, Rows
from harness.diagnosis.recorded.robust_stats import SIGMA

LEAST = 5  # losses before which nothing is usual
_FEW = 20  # the same for gradients
NEW = 40  # losses of a new net before it is asked for more than to be finite
_CHANCES = 100  # losses: if one of them is that high, three in a row come by chance once in a million iterations
_STILL = 0.9  # a level that has fallen to less, from one half of a window to the next, is on its way down


@dataclass(frozen=True)
class Baseline:
    """What was usual in the last window of iterations."""

    count: int  # losses in it
    level: float  # median of the last losses
    noise: float  # a standard deviation of single losses
    losses: Floats  # (at most _CHANCES,) single ones, but for the very last
    settled: float  # the level of the last half of the window, if it no longer falls; NaN if it does
    gradient_median: Floats  # (P,) NaN while too few are known
    gradient_max: Floats  # (P,) likewise


@dataclass(frozen=True)
class History:
    """What a rule must remember of a run for longer than a window; NaN (or infinite) while it is not known."""

    first: int = 0  # the run's first iteration
    start: float = np.nan  # the level of its first losses
    lowest: float = np.nan  # the lowest level of the loss
    best: float = np.nan  # the same since the last alarm about it, as what follows
    far: float = np.nan  # the lowest that was ever far above a level, for a single loss
    level_far: float = np.nan  # the same for a level
    best_heads: Floats = field(default_factory=lambda: np.empty(0))  # (H,) the lowest level of each head


@dataclass(frozen=True)
class Segment:
    """Iterations `rows`, with at most a window of those `before`; `usual` is None while there are too few of those."""

    rows: Rows
    before: Rows
    baseline: Baseline | None
    past: History
    names: Names

    @property
    def scale(self) -> float:
        """What there is to lose: the loss of knowing nothing, or without classes that of the start."""
        known = self.names.chance_loss
        return known if known is not None else abs(self.past.start)

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


def baseline_of(before: Rows, limits: Limits) -> Baseline | None:
    """What is usual, or None where next to nothing has passed."""
    window, level = limits.loss_jump.window, limits.loss_jump.level
    loss = before.loss[np.isfinite(before.loss)][-window:]
    if len(loss) < LEAST:
        return None
    # from one iteration to the next, so that a loss on its way down is not taken for a noisy one
    noise = SIGMA * float(np.median(np.abs(np.diff(loss)))) / np.sqrt(2)
    older, newer = np.median(loss[: window // 2]), np.median(loss[-(window // 2) :])
    settled = len(loss) == window and newer >= _STILL * older
    # the last of a row that goes on must not say what is usual
    high = before.gradient_l2[: len(before) - limits.gradient_explosion.iterations + 1]
    high = high[-limits.gradient_explosion.window :]
    low = before.gradient_l2[-limits.vanishing_gradient.window :]
    unknown = np.full(high.shape[1], np.nan)
    return Baseline(
        count=len(loss),
        level=float(np.median(loss[-level:])),
        noise=noise,
        losses=before.loss[: len(before) - limits.loss_jump.iterations + 1][-_CHANCES:],
        settled=float(min(older, newer)) if settled else np.nan,
        gradient_median=np.median(low, axis=0) if len(low) >= _FEW else unknown,
        gradient_max=high.max(axis=0) if len(high) >= _FEW else unknown,
    )


def remembered(past: History, baseline: Baseline, heads: Floats, limit: LossJump) -> History:
    """`past` with the present `baseline`; `heads` (H,) are the levels of the heads."""
    # a median of n normal values has 1.25 / sqrt(n) of their standard deviation
    error = 1.25 * baseline.noise / np.sqrt(limit.level)
    return replace(
        past,
        lowest=float(np.fmin(past.lowest, baseline.level)),
        best=float(np.fmin(past.best, baseline.level)),
        far=float(np.fmin(past.far, baseline.level + limit.sigmas * baseline.noise)),
        level_far=float(np.fmin(past.level_far, baseline.level + limit.sigmas * error)),
        best_heads=np.fmin(past.best_heads, heads),
    )
