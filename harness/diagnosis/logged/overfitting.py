"""Find test losses that rise while the training loss falls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.caffe_log.model import LoggedOutput, LogRun
from harness.diagnosis.logged.course import Overfitting
from harness.diagnosis.logged.displays import Displays
from harness.diagnosis.logged.levels import noise_of
from harness.diagnosis.robust_stats import Floats

_PASSES, _AFTER = 4, 2  # passes in all, and after the best one
_RISEN = 0.1  # of the best test loss
_NOISES = 4.0  # standard deviations of a pass
_FALLEN = 0.05  # of the training loss at the best pass
_NEAR = 5  # displays that make a level of the training loss


@dataclass(frozen=True)
class _Rise:
    best: tuple[int, float]
    last: tuple[int, float]

    @property
    def share(self) -> float:
        return self.last[1] / self.best[1]


def find_overfitting(run: LogRun, total: Displays) -> Overfitting | None:
    """Find the test loss that rose most from its best pass, while the training loss fell; None without one."""
    found = [
        (rise, output.name)
        for net in run.tests
        for output in net
        if output.weight and (rise := _rise_of(output)) is not None
    ]
    if not found or not len(total.values):
        return None
    rise, name = max(found, key=lambda pair: pair[0].share)
    row = int(np.searchsorted(total.iterations, rise.best[0], side="right"))
    before, after = _level(total.values[max(row - _NEAR, 0) : row + 1]), _level(total.values[-_NEAR:])
    if len(total.values) - row < 2 or not before - after > _FALLEN * abs(before):
        return None
    return Overfitting(name, rise.best, rise.last, (before, after))


def _rise_of(output: LoggedOutput) -> _Rise | None:
    iterations, values = output.series.iterations, output.series.values
    if len(values) < _PASSES or not np.all(np.isfinite(values)) or values.min() <= 0:
        return None
    best = int(np.argmin(values))
    noise = noise_of(values)
    least = values[best] + max(_RISEN * values[best], _NOISES * noise if np.isfinite(noise) else 0.0)
    if len(values) - 1 - best < _AFTER or not np.all(values[-_AFTER:] > least):
        return None
    return _Rise((int(iterations[best]), float(values[best])), (int(iterations[-1]), float(values[-1])))


def _level(values: Floats) -> float:
    return float(np.median(values)) if len(values) else 0.0
