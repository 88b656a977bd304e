"""Apply all rules to a run that is in progress: iterations in, alarms out.

How a run is cut into pieces changes nothing: the baseline is updated at fixed iterations, so that a recording gives the
alarms that its run gave.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from harness.diagnosis.conditions import Condition
from harness.diagnosis.live.baseline import MIN_LOSSES, Baseline, History, Segment, baseline_of
from harness.diagnosis.live.debounce import Debounce, Hits
from harness.diagnosis.live.label_monitor import LabelMonitor
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.live.rows import Names, Rows, no_rows
from harness.diagnosis.live.rules import RULES, dead_relu, loss_spike, new_nonfinite_inputs, nonfinite_activations
from harness.diagnosis.robust_stats import Bools, Floats, Ints, median
from harness.schemas.layout import ACTIVATION_STATS, Alarm

_NO_ITERATIONS, _NO_VALUES = np.empty(0, np.int64), np.empty((0, 0, len(ACTIVATION_STATS)))
_START = 10  # losses that make the level at which a run began
_EARLY = (MIN_LOSSES, 2 * MIN_LOSSES)  # rows after which the baseline is computed for the first times


class Monitor:
    """Examines one run, from its first iteration on."""

    def __init__(self, names: Names, limits: Limits) -> None:
        self._names, self._limits = names, limits
        spans = (limits.loss_jump.window, limits.gradient_explosion.window, limits.vanishing_gradient.window)
        self._span = max(  # iterations that are kept
            *spans,
            limits.loss_jump.level,
            limits.loss_jump.iterations,
            limits.uniform_collapse.iterations,
            limits.saturated_softmax.iterations,
            limits.vanishing_gradient.iterations,
        )
        self._every = max(1, min(spans) // 10)  # iterations between two updates of the baseline
        self._seen = 0
        self._before = no_rows(names)
        self._baseline: Baseline | None = None
        self._history = History(
            best_heads=np.full(len(names.heads), np.inf), largest_inputs=np.full(len(names.inputs), np.nan)
        )
        self._raised: list[Alarm] = []  # since the baseline was updated
        self._debounces = {name: Debounce(self._span) for name in RULES}
        self._labels = LabelMonitor(names, limits)
        self._spikes, self._dead = Debounce(self._span), Debounce(self._span)
        self._looked = False  # at activations
        self._last_nonfinite = -self._span - 1  # the last iteration with something that is not finite

    def remember(self, earlier: Rows) -> None:
        """Take iterations of the run that this one continues, from before its first one: they make a baseline."""
        self._labels.remember(earlier)
        for _ in self._segments(earlier):
            pass

    def take(self, rows: Rows, taken: Ints = _NO_ITERATIONS, values: Floats = _NO_VALUES) -> list[Alarm]:
        """Return the alarms of the next iterations.

        `values` (S, A, 4) are the statistics of the net's blobs at the iterations `taken` (S,).
        """
        before, earlier = self._last_nonfinite, self._before
        alarms = [alarm for segment in self._segments(rows) for alarm in self._examine(segment)]
        alarms += self._labels.take(rows)
        if len(taken):
            alarms += self._dead_relus(taken, values)
            inputs = _inputs_at(taken, earlier, rows)
            hits = nonfinite_activations(values, self._names, *inputs)
            alarms = self._with_nonfinite_activation(alarms, before, taken, hits)
        return sorted(alarms, key=lambda alarm: alarm.iteration)

    @property
    def recent(self) -> Rows:
        """The last iterations, as many as a baseline has."""
        return self._before

    def _examine(self, segment: Segment) -> Iterator[Alarm]:
        for name, rule in RULES.items():
            if not self._limits.of(name).enabled:
                continue
            hits = rule(segment, self._limits)
            found = self._debounces[name].take(segment.rows.iteration, hits)
            if name == Condition.NON_FINITE.rule:  # the first one explains all others
                found = [alarm for alarm in found[:1] if alarm.iteration - self._last_nonfinite > self._span]
                bad = segment.rows.iteration[hits.hit.any(axis=1)]
                self._last_nonfinite = int(np.max(bad, initial=self._last_nonfinite))
            self._raised += found
            yield from found
        if self._limits.loss_spike.enabled:
            yield from self._spikes.short(segment.rows.iteration, loss_spike(segment, self._limits))

    def _dead_relus(self, taken: Ints, values: Floats) -> list[Alarm]:
        if not self._limits.dead_relu.enabled:
            return []
        if not self._looked:  # one look is enough for a net that is dead from the start
            self._looked = True
            taken, values = np.append(taken[:1], taken), np.concatenate([values[:1], values])
        return self._dead.take(taken, dead_relu(values, self._names, self._limits))

    def _with_nonfinite_activation(self, alarms: list[Alarm], before: int, taken: Ints, hits: Hits) -> list[Alarm]:
        """Return `alarms` with one of an activation that is not finite, unless one names something that came before it.

        `before`: the last iteration before these with something that is not finite.
        """
        bad = np.flatnonzero(hits.hit.any(axis=1))
        if not self._limits.non_finite.enabled or not len(bad):
            return alarms
        row, self._last_nonfinite = int(bad[0]), max(self._last_nonfinite, int(taken[bad[-1]]))
        iteration, first = int(taken[row]), int(np.argmax(hits.hit[row]))
        if iteration - before <= self._span:
            return alarms
        others = [alarm for alarm in alarms if alarm.rule == hits.rule]
        # in an iteration, its inputs and weights come before its activations, and everything else after them
        if any(alarm.iteration < iteration + alarm.subject.startswith(("input ", "weight ")) for alarm in others):
            return alarms
        value, limit = float(hits.value[row, first]), float(hits.limit[row, first])
        alarm = Alarm(iteration, hits.rule, hits.subjects[first], value, limit)
        return [*(other for other in alarms if other.rule != hits.rule), alarm]

    def _segments(self, rows: Rows) -> Iterator[Segment]:
        """Cut `rows` into segments over which the baseline does not change."""
        while len(rows):
            if not self._seen:
                self._history = replace(self._history, first=int(rows.iteration[0]))
            if self._seen in _EARLY or self._seen % self._every == 0:
                self._update_baseline()
            updates = [*_EARLY, (self._seen // self._every + 1) * self._every]
            size = min(len(rows), min(at for at in updates if at > self._seen) - self._seen)
            now, rows = rows[:size], rows[size:]
            yield Segment(now, self._before, self._baseline, self._history, self._names)
            self._before = (self._before + now)[-self._span :]
            self._seen += size

    def _update_baseline(self) -> None:
        """Compute the baseline, and extend the history by it.

        After an alarm about a loss its best level counts anew: it may be raised again once the loss was well.
        """
        self._baseline = baseline_of(self._before, self._limits)
        history, raised = self._history, {(alarm.rule, alarm.subject) for alarm in self._raised}
        self._raised = []
        if ("loss_jump", "loss") in raised:
            history = replace(history, best=np.nan, far=np.nan, level_far=np.nan)
        collapsed = np.array([(Condition.UNIFORM.rule, head.name) in raised for head in self._names.heads], bool)
        history = replace(history, best_heads=np.where(collapsed, np.inf, history.best_heads))
        if np.isnan(history.start) and len(self._before):
            history = replace(history, start=float(median(self._before.loss[:_START])))
        largest = np.fmax.reduce(_finite(self._before.largest_inputs[-self._every :]), axis=0, initial=np.nan)
        history = replace(history, largest_inputs=np.fmax(history.largest_inputs, largest))
        if self._baseline is not None:
            level = median(self._before.heads[-self._limits.loss_jump.level :], axis=0)
            history = history.extended(self._baseline, level, self._limits.loss_jump)
        self._history = history


def _inputs_at(taken: Ints, earlier: Rows, rows: Rows) -> tuple[Floats, Bools]:
    """(S, I) Return how many elements of inputs are not finite at the iterations `taken`, and which were finite before.

    `earlier` are the iterations before `rows`. Of iterations that are not among `rows`, nothing is known: 0.
    """
    counts, new = np.zeros((len(taken), rows.inputs.shape[2])), np.zeros((len(taken), rows.inputs.shape[2]), bool)
    if len(rows):
        at = np.searchsorted(rows.iteration, taken).clip(max=len(rows) - 1)
        here = rows.iteration[at] == taken
        counts[here] = rows.nonfinite_inputs[at[here]]
        new[here] = new_nonfinite_inputs(rows, earlier)[at[here]]
    return counts, new


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.nan)
