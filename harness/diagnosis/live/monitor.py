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

from harness.diagnosis.live import activations, blobs, heads, losses
from harness.diagnosis.live.baseline import LEAST, Baseline, History, Hits, Segment, baseline_of, remembered
from harness.diagnosis.live.debounce import Debounce
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.live.rows import Names, Rows, no_rows
from harness.schemas.layout import ACTIVATION_STATS, Alarm

_RULES: tuple[Callable[[Segment, Any], Hits], ...] = (
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
_EARLY = (LEAST, 2 * LEAST)  # rows after which it is looked for the first times at what is usual


class Monitor:
    """Looks at one run, from its first iteration on."""

    def __init__(self, names: Names, limits: Limits) -> None:
        self._names, self._limits = names, limits
        jump, collapse = limits.loss_jump, limits.uniform_collapse
        windows = (jump.window, limits.gradient_explosion.window, limits.vanishing_gradient.window)
        self._window = max(*windows, jump.level, jump.iterations, collapse.iterations)
        self._window = max(self._window, limits.saturated_softmax.iterations, limits.vanishing_gradient.iterations)
        self._every = max(1, min(windows) // 10)
        self._seen = 0
        self._before = no_rows(names)
        self._baseline: Baseline | None = None
        self._history = History(best_heads=np.full(len(names.heads), np.inf))
        self._raised: list[Alarm] = []  # since what is usual was looked at
        self._debounces = {rule.__name__: Debounce(self._window) for rule in _RULES}
        self._spikes, self._dead = Debounce(self._window), Debounce(self._window)
        self._looked = False  # at activations
        self._unsound = -self._window - 1  # the last iteration with something that is not finite

    def remember(self, earlier: Rows) -> None:
        """Iterations before the first one, of the run that this one goes on from: they say what is usual."""
        for _ in self._segments(earlier):
            pass

    def take(
        self, rows: Rows, taken: npt.NDArray[np.int64] = _NEVER, values: npt.NDArray[np.float64] = _NOTHING
    ) -> list[Alarm]:
        """The iterations that come next, and (S, A, 4) statistics of the net's blobs at the iterations `taken`."""
        before = self._unsound
        alarms = [alarm for segment in self._segments(rows) for alarm in self._judge(segment)]
        if len(taken):
            alarms += self._look(taken, values)
            alarms = self._with_unsound(alarms, before, taken, values)
        return sorted(alarms, key=lambda alarm: alarm.iteration)

    @property
    def recent(self) -> Rows:
        """The last iterations, as many as a window has."""
        return self._before

    def _judge(self, segment: Segment) -> Iterator[Alarm]:
        for rule in _RULES:
            name = rule.__name__
            limit = getattr(self._limits, name)
            if not limit.enabled:
                continue
            debounce, hits = self._debounces[name], rule(segment, limit)
            found = debounce.take(segment.rows.iteration, hits)
            if rule is blobs.non_finite:  # the first thing that is not finite explains all others
                found = [alarm for alarm in found[:1] if alarm.iteration - self._unsound > self._window]
                self._unsound = int(np.max(segment.rows.iteration[hits.hit.any(axis=1)], initial=self._unsound))
            self._raised += found
            yield from found
        if self._limits.loss_spike.enabled:
            yield from self._spikes.short(segment.rows.iteration, losses.loss_spike(segment, self._limits.loss_jump))

    def _look(self, taken: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> list[Alarm]:
        """Dead ReLUs: in two looks one after the other, as one batch of a few images may leave one silent."""
        if not self._limits.dead_relu.enabled:
            return []
        if not self._looked:  # but a net that begins dead is
            self._looked = True
            taken, values = np.append(taken[:1], taken), np.concatenate([values[:1], values])
        return self._dead.take(taken, activations.dead_relu(values, self._names, self._limits.dead_relu))

    def _with_unsound(
        self, alarms: list[Alarm], before: int, taken: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
    ) -> list[Alarm]:
        """`alarms`, with an activation that is not finite where none of them names something that came before it."""
        hits = activations.non_finite(values, self._names, self._limits.non_finite)
        bad = np.flatnonzero(hits.hit.any(axis=1))
        if not self._limits.non_finite.enabled or not len(bad):
            return alarms
        row, self._unsound = int(bad[0]), max(self._unsound, int(taken[bad[-1]]))
        iteration, blob = int(taken[row]), int(np.argmax(hits.hit[row]))
        if iteration - before <= self._window:
            return alarms
        others = [alarm for alarm in alarms if alarm.rule == "non_finite"]
        # of one iteration, its weights come before its activations, and all else after them
        if any(alarm.iteration < iteration + alarm.subject.startswith("weight ") for alarm in others):
            return alarms
        value, limit = float(hits.value[row, blob]), float(hits.limit[row, blob])
        alarm = Alarm(iteration, "non_finite", hits.subjects[blob], value, limit)
        return [*(other for other in alarms if other.rule != "non_finite"), alarm]

    def _segments(self, rows: Rows) -> Iterator[Segment]:
        """`rows` in blocks over which what is usual does not change."""
        while len(rows):
            if not self._seen:
                self._history = replace(self._history, first=int(rows.iteration[0]))
            if self._seen in _EARLY or self._seen % self._every == 0:
                self._remember()
            looks = [*_EARLY, (self._seen // self._every + 1) * self._every]
            size = min(len(rows), min(at for at in looks if at > self._seen) - self._seen)
            segment, rows = rows[:size], rows[size:]
            yield Segment(segment, self._before, self._baseline, self._history, self._names)
            self._before = (self._before + segment)[-self._window :]
            self._seen += size

    def _remember(self) -> None:
        """Look at what is usual now. After an alarm only that counts: it may come again once things were well."""
        self._baseline = baseline_of(self._before, self._limits)
        past, told = self._history, {(alarm.rule, alarm.subject) for alarm in self._raised}
        self._raised = []
        if ("loss_jump", "loss") in told:
            past = replace(past, best=np.nan, far=np.nan, level_far=np.nan)
        fell = np.array([("uniform_collapse", head.name) in told for head in self._names.heads], bool)
        past = replace(past, best_heads=np.where(fell, np.inf, past.best_heads))
        if np.isnan(past.start) and len(self._before):
            past = replace(past, start=float(np.median(self._before.loss[:_START])))
        if self._baseline is not None:
            level = np.median(self._before.heads[-self._limits.loss_jump.level :], axis=0)
            past = remembered(past, self._baseline, level, self._limits.loss_jump)
        self._history = past
