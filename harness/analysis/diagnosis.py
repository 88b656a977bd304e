"""What went wrong in a recorded run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.analysis.onset import Onset, find_onset, span_of
from harness.analysis.place import placed
from harness.analysis.rules.limits import Limits
from harness.analysis.rules.rows import Rows, names_in, no_rows, recorded_rows, rows_before
from harness.analysis.rules.standing import stands
from harness.analysis.rules.watch import Watch
from harness.recording import Recording
from harness.recording.layout import ACTIVATION_STATS, Alarm


@dataclass(frozen=True)
class Diagnosis:
    """The alarms that the rules raise on a recording, and where the run began to diverge (None: it did not)."""

    alarms: tuple[Alarm, ...]
    onset: Onset | None


def diagnose(recording: Recording, span: int, limits: Limits) -> Diagnosis:
    """Apply the rules to all that was recorded, as it was done while it was recorded.

    `span` is the solver's display interval (0: 40).
    """
    rows, names = recorded_rows(recording), names_in(recording)
    stats = [recording.activation(name) for name in ACTIVATION_STATS]
    taken, values = stats[0].iterations, np.stack([stat.values for stat in stats], axis=-1)
    watch = Watch(names, limits)
    earlier = _earlier(recording, rows)
    watch.remember(earlier)
    alarms = watch.take(rows, taken, values)
    last = rows[-span_of(span) :]
    standing = [alarm for alarm in alarms if limits.stops(alarm.rule) and stands(alarm, last, names)]
    rows = earlier + rows
    nonfinite = rows.gradient_nonfinite
    onset = find_onset(rows.iteration, rows.loss, rows.gradient_l2, nonfinite, span, names.params, standing)
    return Diagnosis(tuple(alarms), placed(onset, rows, taken, values, names) if onset else None)


def _earlier(recording: Recording, rows: Rows) -> Rows:
    names, run = names_in(recording), recording.goes_on_from
    earlier = rows_before(run, int(rows.iteration[0])) if run is not None and len(rows) else None
    return earlier if earlier is not None and earlier.fits(names) else no_rows(names)
