"""From where a rule's condition holds to alarms: so many in a row, and once for each time that it begins."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.diagnosis.live.baseline import Hits
from harness.schemas.layout import Alarm


class Debounce:
    """Follows one rule. After an alarm, its subject must have been quiet for `rearm` iterations before the next one."""

    def __init__(self, rearm: int) -> None:
        self._rearm = rearm
        self._count = np.zeros(0, np.int64)

    def take(self, iterations: npt.NDArray[np.int64], hits: Hits) -> list[Alarm]:
        """The alarms of these iterations: where a debounce has become long enough."""
        return self._follow(iterations, hits)[0]

    def short(self, iterations: npt.NDArray[np.int64], hits: Hits) -> list[Alarm]:
        """The runs that ended in these iterations before they were long enough, each with its highest value."""
        return self._follow(iterations, hits)[1]

    def _follow(self, iterations: npt.NDArray[np.int64], hits: Hits) -> tuple[list[Alarm], list[Alarm]]:
        subjects, wanted = len(hits.subjects), hits.in_a_row
        if len(self._count) != subjects:
            self._count = np.zeros(subjects, np.int64)
            self._raised = np.full(subjects, np.iinfo(np.int64).min // 2)  # the last iteration of a long debounce
            self._told_short = self._raised.copy()
            self._start, self._peak, self._limit = np.zeros(subjects, np.int64), np.zeros(subjects), np.zeros(subjects)
        long: list[Alarm] = []
        short: list[Alarm] = []
        some = np.asarray(hits.hit.any(axis=1))
        if not some.any() and not self._count.any():
            return long, short
        for row, iteration in enumerate(iterations.tolist()):
            if not some[row] and not self._count.any():
                continue  # nothing begins, goes on or ends
            hit, value, limit = hits.hit[row], hits.value[row], hits.limit[row]
            armed = iteration - self._raised > self._rearm
            ended = ~hit & (self._count > 0) & (self._count < wanted) & np.isfinite(value)
            for s in np.flatnonzero(ended & armed & (iteration - self._told_short > self._rearm)):
                peak = float(self._peak[s])
                short.append(Alarm(int(self._start[s]), hits.rule, hits.subjects[s], peak, float(self._limit[s])))
                self._told_short[s] = iteration
            begins = hit & (self._count == 0)
            self._start[begins], self._peak[begins], self._limit[begins] = iteration, -np.inf, limit[begins]
            self._peak[hit] = np.maximum(self._peak, value)[hit]
            self._count = np.where(hit, self._count + 1, 0)
            for s in np.flatnonzero(armed & (self._count == wanted)):
                long.append(Alarm(iteration, hits.rule, hits.subjects[s], float(value[s]), float(limit[s])))
            self._raised[self._count >= wanted] = iteration
        return long, short
