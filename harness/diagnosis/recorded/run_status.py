"""Determine the state of a recorded run at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.diagnosis.conditions import Condition, Status
from harness.diagnosis.live.rows import Names, recorded_rows
from harness.diagnosis.recorded.detect import Detection
from harness.diagnosis.recorded.onset import span_of
from harness.recording import Recording
from harness.schemas.layout import Alarm


@dataclass(frozen=True)
class RunStatus:
    """The state of a run at its end.

    Attributes:
        heads: the heads that `kind` is about.
        before: the loss (median over a display interval) before the onset, or at the start of a run without one; None
            if the onset is the first iteration.
        after: the loss at the end.
    """

    kind: Status
    heads: tuple[str, ...]
    before: float | None
    after: float


def run_status(recording: Recording, detection: Detection, span: int) -> RunStatus:
    """Determine the state of a run; `span` is the solver's display interval in iterations (0: 40)."""
    count, span = len(recording.iterations), span_of(span)
    if not count:
        return RunStatus("nothing", (), None, np.nan)
    last = recorded_rows(recording, detection.names, slice(max(0, count - span), count))
    after, onset = float(np.median(last.loss)), detection.onset
    if onset is None:
        start = float(np.median(recording.series("loss", slice(0, span))))
        still = any(alarm.rule == "loss_not_decreasing" and after > alarm.limit for alarm in detection.alarms)
        return RunStatus("never learned" if still else "healthy", (), start, after)
    row = int(np.searchsorted(recording.iterations, onset.iteration))
    before = float(np.median(recording.series("loss", slice(max(0, row - span), row)))) if row else None
    active = detection.active
    if not np.isfinite(last.loss[-1]) or any(alarm.rule == Condition.NON_FINITE.rule for alarm in active):
        return RunStatus(Condition.NON_FINITE.status, (), before, float(last.loss[-1]))
    for condition in (Condition.SATURATED, Condition.UNIFORM):
        heads = _heads_in(condition, active, detection.names)
        if heads:
            return RunStatus(condition.status, heads, before, after)
    return RunStatus("diverged", (), before, after)


def _heads_in(condition: Condition, active: Sequence[Alarm], names: Names) -> tuple[str, ...]:
    named = {alarm.subject for alarm in active if alarm.rule == condition.rule}
    return tuple(head.name for head in names.heads if head.name in named)
