"""Follow the labels of a run in progress, and raise an alarm where its records are sorted by their class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.diagnosis.label_order import long_runs, trends
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.live.rows import Names, Rows
from harness.diagnosis.robust_stats import Bools, Floats, Ints
from harness.schemas.layout import INPUT_STATS, Alarm

_KEPT = 4000  # iterations that are looked back on
_EARLY, _LATE = 20, 200  # iterations between two looks, in the first `_SETTLED` and later
_SETTLED = 400
_EXTREMES = [list(INPUT_STATS).index(name) for name in ("minimum", "maximum")]


class LabelMonitor:
    """Examines the labels of classes of one run, from its first iteration on. How it is cut changes nothing."""

    def __init__(self, names: Names, limits: Limits) -> None:
        self._names, self._limits = names, limits
        self._columns = [names.inputs.index(name) for name in names.labels]
        self._iterations: Ints = np.empty(0, np.int64)
        self._labels: Floats = np.empty((0, 2, len(self._columns)))
        self._seen = 0
        self._raised: set[str] = set()  # blobs

    def remember(self, earlier: Rows) -> None:
        """Take iterations of the run that this one continues."""
        for _ in self._looks(earlier):
            pass

    def take(self, rows: Rows) -> list[Alarm]:
        """Return the alarms of the next iterations: one for each blob, once in a run."""
        return [alarm for iteration in self._looks(rows) for alarm in self._examine(iteration)]

    def _looks(self, rows: Rows) -> Iterator[int]:
        """Add `rows`; yield the last iteration at each look."""
        while self._columns and len(rows):
            every = _EARLY if self._seen < _SETTLED else _LATE
            size = min(len(rows), every - self._seen % every)
            now, rows = rows[:size], rows[size:]
            self._iterations = np.append(self._iterations, now.iteration)[-_KEPT:]
            labels = now.inputs[:, _EXTREMES][:, :, self._columns]
            self._labels = np.concatenate([self._labels, labels])[-_KEPT:]
            self._seen += size
            if self._seen % every == 0:
                yield int(self._iterations[-1])

    def _examine(self, iteration: int) -> Iterator[Alarm]:
        for column, name in enumerate(self._names.labels):
            if name in self._raised:
                continue
            low, high = self._labels[:, 0, column], self._labels[:, 1, column]
            known = np.isfinite(low + high)
            found = [*self._runs(iteration, name, low, high, known), *self._trends(iteration, name, low, high, known)]
            if found:
                self._raised.add(name)
                yield found[0]

    def _runs(self, iteration: int, name: str, low: Floats, high: Floats, known: Bools) -> Iterator[Alarm]:
        limit = self._limits.label_runs
        if limit.enabled:
            runs = long_runs(self._iterations[known], low[known], high[known], limit.surprise)
            longest = max(runs, key=lambda run: run.length, default=None)
            if longest is not None:
                yield Alarm(iteration, "label_runs", name, float(longest.length), longest.expected)

    def _trends(self, iteration: int, name: str, low: Floats, high: Floats, known: Bools) -> Iterator[Alarm]:
        limit = self._limits.label_trend
        if limit.enabled:
            for trend in trends(self._iterations[known], low[known], high[known], limit.share):
                yield Alarm(iteration, "label_trend", name, trend.share, limit.share)
