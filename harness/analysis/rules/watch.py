"""All rules, over a run that goes on: blocks of iterations in, alarms out.

How a run is cut into pieces changes nothing: what is usual is looked at anew at fixed iterations, so a recording gives
the alarms that its run gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.analysis.rules import activations, blobs, heads, losses
from harness.analysis.rules.block import Block, Hits, Past, Usual, usual_of
from harness.analysis.rules.limits import Limits
from harness.analysis.rules.rows import Names, Rows, no_rows
from harness.analysis.rules.streak import Streak
from harness.recording.layout import ACTIVATION_STATS, Alarm

_RULES: tuple[Callable[[Block, Any], Hits], ...] = (
    blobs.non_finite,
    losses.lr_jump,
    losses.loss_jump,
    heads.saturated_softmax,
    heads.uniform_collapse,
    losses.loss_not_decreasing,
    blobs.gradient_explosion,
    blobs.vanishing_gradient,
    blobs.weight_update_ratio,
)
_NEVER, _NOTHING = np.empty(0, np.int64), np.empty((0, 0, len(ACTIVATION_STATS)))
_START = 10  # losses that say where a run began


class Watch:
    """Looks at one run, from its first iteration on."""

    def __init__(self, names: Names, limits: Limits) -> None:
        self._names, self._limits = names, limits
        windows = (limits.loss_jump.window, limits.gradient_explosion.window, limits.vanishing_gradient.window)
        self._window, self._every = max(windows), max(1, min(windows) // 10)
        self._seen = 0
        self._before = no_rows(names)
        self._usual: Usual | None = None
        self._past = Past(0, np.nan, np.nan, np.nan, np.full(len(names.heads), np.inf))
        self._streaks = {rule.__name__: Streak(self._window) for rule in _RULES}
        self._spikes, self._dead = Streak(self._window), Streak(self._window)
        self._unsound = -self._window - 1  # the last iteration with something that is not finite

    def take(
        self, rows: Rows, taken: npt.NDArray[np.int64] = _NEVER, values: npt.NDArray[np.float64] = _NOTHING
    ) -> list[Alarm]:
        """The iterations that come next, and (S, A, 4) statistics of the net's blobs at the iterations `taken`."""
        alarms = [alarm for block in self._blocks(rows) for alarm in self._judge(block)]
        if self._limits.dead_relu.enabled and len(taken):
            alarms += self._dead.take(taken, activations.dead_relu(values, self._names, self._limits.dead_relu))
        if self._limits.non_finite.enabled and len(taken):
            alarms = _with_first(alarms, taken, activations.non_finite(values, self._names, self._limits.non_finite))
        return sorted(alarms, key=lambda alarm: alarm.iteration)

    @property
    def recent(self) -> Rows:
        """The last iterations, as many as a window has."""
        return self._before

    def _judge(self, block: Block) -> Iterator[Alarm]:
        for rule in _RULES:
            name = rule.__name__
            limit = getattr(self._limits, name)
            if not limit.enabled:
                continue
            streak, hits = self._streaks[name], rule(block, limit)
            found = streak.take(block.rows.iteration, hits)
            if name == "non_finite":  # the first thing that is not finite explains all others
                found = [alarm for alarm in found[:1] if alarm.iteration - self._unsound > self._window]
                self._unsound = int(np.max(block.rows.iteration[hits.hit.any(axis=1)], initial=self._unsound))
            yield from found
        if self._limits.loss_spike.enabled:
            yield from self._spikes.short(block.rows.iteration, losses.loss_spike(block, self._limits.loss_jump))

    def _blocks(self, rows: Rows) -> Iterator[Block]:
        """`rows` in blocks over which what is usual does not change."""
        while len(rows):
            if not self._seen:
                self._past = replace(self._past, first=int(rows.iteration[0]))
            if self._seen % self._every == 0:
                self._usual = usual_of(self._before, self._limits)
                self._remember()
            size = min(len(rows), self._every - self._seen % self._every)
            block, rows = rows[:size], rows[size:]
            yield Block(block, self._before, self._usual, self._past, self._names)
            self._before = (self._before + block)[-self._window :]
            self._seen += size

    def _remember(self) -> None:
        past = self._past
        if np.isnan(past.start) and len(self._before):
            past = replace(past, start=float(np.median(self._before.loss[:_START])))
        if self._usual is not None:
            level = np.median(self._before.heads[-self._every :], axis=0)
            best = float(np.fmin(past.best, self._usual.loss_median))
            calm = float(np.fmin(past.calm, self._usual.loss_far))
            past = replace(past, best=best, calm=calm, best_heads=np.fmin(past.best_heads, level))
        self._past = past


def _with_first(alarms: list[Alarm], taken: npt.NDArray[np.int64], hits: Hits) -> list[Alarm]:
    """An activation that is not finite came before a loss or a gradient of the same iteration: it is named instead."""
    for position, alarm in enumerate(alarms):
        rows = np.flatnonzero(taken == alarm.iteration)
        if alarm.rule != "non_finite" or alarm.subject.startswith("weight ") or not len(rows):
            continue
        columns = np.flatnonzero(hits.hit[rows[0]])
        if len(columns):
            first = int(columns[0])
            value, limit = float(hits.value[rows[0], first]), float(hits.limit[rows[0], first])
            alarms[position] = replace(alarm, subject=hits.subjects[first], value=value, limit=limit)
    return alarms
