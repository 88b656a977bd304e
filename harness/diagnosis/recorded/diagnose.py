"""What went wrong in a recorded run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.diagnosis.live.active_alarms import is_active
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.live.monitor import Monitor
from harness.diagnosis.live.rows import Names, Rows, names_in, no_rows, recorded_rows, rows_before
from harness.diagnosis.recorded.localize import localize
from harness.diagnosis.recorded.onset import find_onset, span_of
from harness.recording import Recording
from harness.schemas.layout import ACTIVATION_STATS, Alarm
from harness.schemas.onset import Onset

_CHUNK = 4096  # iterations read at a time: all of a long run do not fit into memory


@dataclass(frozen=True)
class Diagnosis:
    """The alarms that the rules raise on a recording, and where the run began to diverge (None: it did not)."""

    alarms: tuple[Alarm, ...]
    onset: Onset | None


def diagnose(recording: Recording, span: int, limits: Limits, raised: Sequence[Alarm] | None = None) -> Diagnosis:
    """Apply the rules to all that was recorded, as it was done while it was recorded.

    Args:
        span: the solver's display interval (0: 40).
        raised: the alarms, where they are known, for the rules take most of the time; None: ask the rules.
    """
    names, iterations = names_in(recording), recording.iterations
    stats = [recording.activation(name) for name in ACTIVATION_STATS]
    taken, values = stats[0].iterations, np.stack([stat.values for stat in stats], axis=-1)
    monitor = Monitor(names, limits)
    earlier = _earlier(recording, iterations, names)
    monitor.remember(earlier)

    # of all iterations only what an onset is looked for in
    known, count = len(earlier), len(earlier) + len(iterations)
    times, loss = np.append(earlier.iteration, iterations), np.append(earlier.loss, np.empty(len(iterations)))
    gradient, nonfinite = np.empty((count, len(names.params))), np.empty((count, len(names.params)), bool)
    gradient[:known], nonfinite[:known] = earlier.gradient_l2, earlier.gradient_nonfinite > 0
    alarms = list(raised or ())
    looked = 0
    for start in range(0, len(iterations), _CHUNK):
        rows = recorded_rows(recording, slice(start, min(start + _CHUNK, len(iterations))))
        upto = int(np.searchsorted(taken, rows.iteration[-1], side="right"))
        alarms += monitor.take(rows, taken[looked:upto], values[looked:upto]) if raised is None else ()
        looked = upto
        here = slice(known + start, known + start + len(rows))
        loss[here], gradient[here], nonfinite[here] = rows.loss, rows.gradient_l2, rows.gradient_nonfinite > 0

    last = recorded_rows(recording, slice(max(0, len(iterations) - span_of(span)), len(iterations)))
    active = [alarm for alarm in alarms if limits.stops(alarm.rule) and is_active(alarm, last, names)]
    onset = find_onset(times, loss, gradient, nonfinite, span, names.params, active)
    return Diagnosis(tuple(alarms), localize(onset, times, gradient, taken, values, names) if onset else None)


def _earlier(recording: Recording, iterations: np.ndarray, names: Names) -> Rows:
    run = recording.goes_on_from
    earlier = rows_before(run, int(iterations[0])) if run is not None and len(iterations) else None
    return earlier if earlier is not None and earlier.fits(names) else no_rows(names)
