"""What became of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.diagnosis.live.active_alarms import is_active
from harness.diagnosis.live.rows import names_in, recorded_rows
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.diagnosis.recorded.onset import span_of
from harness.recording import Recording

Kind = Literal["nothing", "healthy", "never learned", "uniform", "saturated", "not finite", "diverged"]


@dataclass(frozen=True)
class RunStatus:
    """`kind`, the heads that it is about, and the loss (median over a display interval) before the onset, or at the
    start of a run without one (None: the onset is the first iteration), and at the end."""

    kind: Kind
    heads: tuple[str, ...]
    before: float | None
    after: float


def run_status(recording: Recording, diagnosis: Diagnosis, span: int) -> RunStatus:
    """`span` is the solver's display interval in iterations (0: 40)."""
    count, span = len(recording.iterations), span_of(span)
    if not count:
        return RunStatus("nothing", (), None, np.nan)
    end = slice(max(0, count - span), count)
    last, names = recorded_rows(recording, end), names_in(recording)
    after, onset = float(np.median(last.loss)), diagnosis.onset
    if onset is None:
        start = float(np.median(recording.series("loss", slice(0, span))))
        still = any(alarm.rule == "loss_not_decreasing" and after > alarm.limit for alarm in diagnosis.alarms)
        return RunStatus("never learned" if still else "healthy", (), start, after)
    row = int(np.searchsorted(recording.iterations, onset.iteration))
    before = float(np.median(recording.series("loss", slice(max(0, row - span), row)))) if row else None
    active = [alarm for alarm in diagnosis.alarms if is_active(alarm, last, names)]
    if not np.isfinite(last.loss[-1]) or any(alarm.rule == "non_finite" for alarm in active):
        return RunStatus("not finite", (), before, float(last.loss[-1]))
    kinds: tuple[tuple[str, Kind], ...] = (("saturated_softmax", "saturated"), ("uniform_collapse", "uniform"))
    for rule, kind in kinds:
        named = {alarm.subject for alarm in active if alarm.rule == rule}
        heads = tuple(head.name for head in names.heads if head.name in named)
        if heads:
            return RunStatus(kind, heads, before, after)
    return RunStatus("diverged", (), before, after)
