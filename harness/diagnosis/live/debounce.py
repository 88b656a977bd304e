"""Turn a rule's hits into alarms: after enough hits in a row, and once for each time that the condition begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.diagnosis.robust_stats import Bools, Floats, Ints
from harness.schemas.layout import Alarm

_LONG_AGO = int(np.iinfo(np.int64).min // 2)


@dataclass(frozen=True)
class Hits:
    """The iterations, n by S subjects, at which a rule's condition holds, with the value and the limit that it passed.

    `in_a_row` of them raise an alarm.
    """

    rule: str
    subjects: tuple[str, ...]
    hit: Bools  # (n, S)
    value: Floats  # (n, S)
    limit: Floats  # (n, S), or an array that broadcasts to it
    in_a_row: int = 1


@dataclass(frozen=True)
class _Runs:
    """The present run of hits of each of S subjects; the arrays are updated in place."""

    count: Ints  # (S,) hits in a row
    start: Ints  # (S,) first iteration of the run
    peak: Floats  # (S,) highest value in it
    limit: Floats  # (S,) limit at its start
    raised: Ints  # (S,) last iteration of a run that was long enough
    raised_short: Ints  # (S,) iteration after the last run that was not

    @classmethod
    def none(cls, subjects: int) -> _Runs:
        zeros, long_ago = np.zeros(subjects, np.int64), np.full(subjects, _LONG_AGO)
        return cls(zeros, zeros.copy(), np.zeros(subjects), np.zeros(subjects), long_ago, long_ago.copy())


class Debounce:
    """Follows one rule. After an alarm, its subject must have had no hit for `rearm` iterations before the next one."""

    def __init__(self, rearm: int) -> None:
        self._rearm = rearm
        self._runs = _Runs.none(0)

    def take(self, iterations: Ints, hits: Hits) -> list[Alarm]:
        """Return the alarms of these iterations: at each of them a run of hits has become long enough."""
        return self._follow(iterations, hits)[0]

    def short(self, iterations: Ints, hits: Hits) -> list[Alarm]:
        """Return the runs that ended in these iterations before they were long enough, each with its highest value."""
        return self._follow(iterations, hits)[1]

    def _follow(self, iterations: Ints, hits: Hits) -> tuple[list[Alarm], list[Alarm]]:
        if len(self._runs.count) != len(hits.subjects):
            self._runs = _Runs.none(len(hits.subjects))
        long: list[Alarm] = []
        short: list[Alarm] = []
        some = np.asarray(hits.hit.any(axis=1))
        if not some.any() and not self._runs.count.any():
            return long, short
        for row, iteration in enumerate(iterations.tolist()):
            if some[row] or self._runs.count.any():  # else nothing begins, continues or ends
                self._advance(iteration, hits, row, long, short)
        return long, short

    def _advance(self, iteration: int, hits: Hits, row: int, long: list[Alarm], short: list[Alarm]) -> None:
        runs, wanted = self._runs, hits.in_a_row
        hit, value, limit = hits.hit[row], hits.value[row], hits.limit[row]
        armed = iteration - runs.raised > self._rearm
        ended = ~hit & (runs.count > 0) & (runs.count < wanted) & np.isfinite(value)
        for s in np.flatnonzero(ended & armed & (iteration - runs.raised_short > self._rearm)):
            peak = float(runs.peak[s])
            short.append(Alarm(int(runs.start[s]), hits.rule, hits.subjects[s], peak, float(runs.limit[s])))
            runs.raised_short[s] = iteration
        begins = hit & (runs.count == 0)
        runs.start[begins], runs.peak[begins], runs.limit[begins] = iteration, -np.inf, limit[begins]
        runs.peak[hit] = np.maximum(runs.peak, value)[hit]
        runs.count[:] = np.where(hit, runs.count + 1, 0)
        for s in np.flatnonzero(armed & (runs.count == wanted)):
            long.append(Alarm(iteration, hits.rule, hits.subjects[s], float(value[s]), float(limit[s])))
        runs.raised[runs.count >= wanted] = iteration
