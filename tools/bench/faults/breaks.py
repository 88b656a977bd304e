"""Whether a training broke, judged from its losses alone: a plain criterion that owes nothing to the harness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.bench.faults.probe import Losses

_END = 40  # iterations at the end of a run that make its level
_EARLIEST = 80  # iteration of a break
_CAP = 3.0  # times chance level: a loss that is higher, or not finite, counts as this much


@dataclass(frozen=True)
class Break:
    """A lasting break.

    Attributes:
        iteration: the first one of which the loss, smoothed, stays nearer to the broken level than to the healthy one.
        healthy, broken: the levels before it and at the end.
    """

    iteration: int
    healthy: float
    broken: float

    def limit(self, chance: float) -> float:
        """Return the loss halfway between the levels; a training at chance level is broken although NaN is worse."""
        return (self.healthy + min(self.broken, chance)) / 2


def capped(losses: Losses, chance: float) -> Losses:
    """Return losses in which one that is not finite, or far above chance level, counts as three times that."""
    return np.where(np.isfinite(losses), np.minimum(losses, _CAP * chance), _CAP * chance)


def find_break(losses: Losses, chance: float, iterations: int) -> Break | None:
    """Find a break: healthy for at least 80 iterations, below 0.4 of chance level, then bad within 40, for good.

    Args:
        iterations: that were wanted. A run with fewer of them has ended with a loss that is not finite.
    """
    found = capped(losses, chance)
    ended = len(losses) < iterations or not np.isfinite(losses[-1])
    broken = _CAP * chance if ended else float(np.median(found[-_END:]))
    if ended:
        found = np.append(found, [broken] * 2 * _END)
    best = min(float(np.median(found[row : row + _END])) for row in range(0, len(found) - _END, 10))
    row = _crossing(found, (best + broken) / 2)
    if not _EARLIEST <= row <= len(found) - _END:
        return None
    healthy = float(np.median(found[row - 60 : row - 20]))
    drifted = healthy > best + 0.2 * (broken - best)
    if drifted or healthy > 0.4 * chance or broken < max(healthy + chance / 3, 2 * healthy):
        return None
    return Break(_crossing(found, (healthy + broken) / 2), healthy, broken)


def _crossing(losses: Losses, limit: float) -> int:
    """Return the first row from which on the median of nine losses stays above `limit`."""
    around = np.pad(losses, 4, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(around, 9), axis=1)
    below = np.flatnonzero(smooth <= limit)
    return int(below[-1]) + 1 if len(below) else 0


def is_healthy(losses: Losses, chance: float, iterations: int) -> bool:
    """Whether a training has learned and ends near its best level."""
    if len(losses) < iterations or not np.isfinite(losses).all():
        return False
    levels = [float(np.median(losses[row : row + _END])) for row in range(0, len(losses) - _END + 1, 10)]
    return levels[-1] < chance / 3 and levels[-1] < min(levels) + chance / 6


def breaks_early(losses: Losses, chance: float) -> bool:
    """Whether a training is bad before it has been healthy for long."""
    return len(losses) < _EARLIEST or float(np.median(losses[_EARLIEST - 20 : _EARLIEST + 20])) > 0.6 * chance
