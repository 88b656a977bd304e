"""The past that the rules compare with: a baseline of recent iterations, and a history of the whole run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from harness.diagnosis.live.limits import Limits, LossJump
from harness.diagnosis.live.rows import Names, Rows
from harness.diagnosis.robust_stats import SIGMA, Floats, median

MIN_LOSSES = 5  # losses that make a baseline
_MIN_GRADIENTS = 20  # gradients that do
WARM_UP = 40  # losses of a new net before more is required of it than to be finite
_CHANCES = 100  # losses: if one of them is as high, three in a row occur by chance once in a million iterations
_STEADY = 0.9  # a level that has fallen to less, from one half of a baseline to the next, is still falling


@dataclass(frozen=True)
class Baseline:
    """The last iterations in numbers.

    Attributes:
        count: losses in it.
        level: median of the last losses.
        noise: a standard deviation of single losses.
        losses: (at most _CHANCES,) single ones, except the very last.
        settled: the level of its last half if that no longer falls; NaN if it does.
        gradient_median, gradient_max: (P,) NaN while there are too few.
        inputs_median: (I,) medians of the largest magnitudes of the inputs.
    """

    count: int
    level: float
    noise: float
    losses: Floats
    settled: float
    gradient_median: Floats
    gradient_max: Floats
    inputs_median: Floats


@dataclass(frozen=True)
class History:
    """Numbers of a run that a rule needs beyond its baseline; NaN (or infinite) while it is not known.

    Attributes:
        first: the run's first iteration.
        start: the level of its first losses.
        lowest: the lowest level of the loss.
        best: the same since the last alarm about it; so are the following.
        far: the lowest value that was ever far above the level, for a single loss.
        level_far: the same for a level.
        best_heads: (H,) the lowest level of each head.
        largest_inputs: (I,) the largest magnitude that each input ever had.
    """

    first: int = 0
    start: float = np.nan
    lowest: float = np.nan
    best: float = np.nan
    far: float = np.nan
    level_far: float = np.nan
    best_heads: Floats = field(default_factory=lambda: np.empty(0))
    largest_inputs: Floats = field(default_factory=lambda: np.empty(0))

    def extended(self, baseline: Baseline, heads: Floats, limit: LossJump) -> History:
        """Return the history extended by `baseline`; `heads` (H,) are the levels of the heads."""
        # a median of n normal values has 1.25 / sqrt(n) of their standard deviation
        error = 1.25 * baseline.noise / np.sqrt(limit.level)
        return replace(
            self,
            lowest=float(np.fmin(self.lowest, baseline.level)),
            best=float(np.fmin(self.best, baseline.level)),
            far=float(np.fmin(self.far, baseline.level + limit.sigmas * baseline.noise)),
            level_far=float(np.fmin(self.level_far, baseline.level + limit.sigmas * error)),
            best_heads=np.fmin(self.best_heads, heads),
        )


@dataclass(frozen=True)
class Segment:
    """Iterations `rows` with the same baseline, and those `before` them, as many as a baseline has.

    `baseline` is None while there are too few of these.
    """

    rows: Rows
    before: Rows
    baseline: Baseline | None
    history: History
    names: Names

    @property
    def scale(self) -> float:
        """The chance level of the loss, or without classes the loss at the start."""
        chance = self.names.chance_loss
        return chance if chance is not None else abs(self.history.start)


def trailing(rows: Floats, before: Floats, count: int) -> Floats:
    """Return (n, …, count): each of n rows with the count - 1 before it; NaN before the first."""
    lead = before[max(0, len(before) - count + 1) :]
    missing = np.full((count - 1 - len(lead), *rows.shape[1:]), np.nan)
    return np.lib.stride_tricks.sliding_window_view(np.concatenate([missing, lead, rows]), count, axis=0)


def baseline_of(before: Rows, limits: Limits) -> Baseline | None:
    """Compute the baseline from the iterations `before`; None while there are too few."""
    span, level = limits.loss_jump.window, limits.loss_jump.level
    loss = before.loss[np.isfinite(before.loss)][-span:]
    if len(loss) < MIN_LOSSES:
        return None
    # of differences, so that a falling loss does not count as a noisy one
    noise = SIGMA * float(median(np.abs(np.diff(loss)))) / np.sqrt(2)
    older, newer = median(loss[: span // 2]), median(loss[-(span // 2) :])
    settled = len(loss) == span and newer >= _STEADY * older
    # the last iterations may belong to a run of hits: they must not be in the baseline
    high = before.gradient_l2[: len(before) - limits.gradient_explosion.iterations + 1]
    high = high[-limits.gradient_explosion.window :]
    low = before.gradient_l2[-limits.vanishing_gradient.window :]
    unknown = np.full(high.shape[1], np.nan)
    return Baseline(
        count=len(loss),
        level=float(median(loss[-level:])),
        noise=noise,
        losses=before.loss[: len(before) - limits.loss_jump.iterations + 1][-_CHANCES:],
        settled=float(min(older, newer)) if settled else np.nan,
        gradient_median=median(low, axis=0) if len(low) >= _MIN_GRADIENTS else unknown,
        gradient_max=high.max(axis=0) if len(high) >= _MIN_GRADIENTS else unknown,
        inputs_median=median(before.largest_inputs, axis=0),
    )
