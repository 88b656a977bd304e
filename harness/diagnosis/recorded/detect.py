"""Detect alarms and the onset of the divergence in a recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.caffe_files import solver
from harness.caffe_files.messages import parse_text, pb
from harness.diagnosis.live.active_alarms import ActiveAlarms
from harness.diagnosis.live.limits import Limits, read_limits
from harness.diagnosis.live.monitor import Monitor
from harness.diagnosis.live.rows import Names, Rows, names_in, no_rows, recorded_rows, rows_before
from harness.diagnosis.recorded.input_evidence import INPUT_ROWS, unusual_input, with_evidence
from harness.diagnosis.recorded.localize import localize
from harness.diagnosis.recorded.onset import find_onset
from harness.diagnosis.robust_stats import Bools, Floats, Ints
from harness.recording import Recording
from harness.schemas.layout import ACTIVATION_STATS, Alarm
from harness.schemas.onset import Onset

_CHUNK = 4096  # iterations that are read at a time: those of a long run do not fit into memory


@dataclass(frozen=True)
class Detection:
    """The alarms that the rules raise on a recording, and the onset of its divergence (None: it did not diverge).

    Attributes:
        active: the alarms of divergences from which the run has not returned.
        names: the names behind the columns, with which `harness.diagnosis.live.messages.sentence` describes an alarm.
    """

    alarms: tuple[Alarm, ...]
    onset: Onset | None
    active: tuple[Alarm, ...]
    names: Names


def detect(
    recording: Recording,
    span: int | None = None,
    limits: Limits | None = None,
    raised: Sequence[Alarm] | None = None,
) -> Detection:
    """Apply the rules to a recording, as they were applied while it was recorded, and find the onset.

    Args:
        span: the iterations over which a level is taken (0: 40); default: the solver's display interval.
        limits: of the rules; default: those of thresholds.toml.
        raised: the alarms, where they are known, because the rules take most of the time; default: apply the rules.

    Raises:
        BadInput: the recording holds no solver that can be read, and `span` is not given.
    """
    span = display_interval(recording) if span is None else span
    limits = read_limits() if limits is None else limits
    names, iterations = names_in(recording), recording.iterations
    stats = [recording.activation(name) for name in ACTIVATION_STATS]
    taken, values = stats[0].iterations, np.stack([stat.values for stat in stats], axis=-1)
    earlier = _earlier(recording, iterations, names)
    monitor = Monitor(names, limits)
    monitor.remember(earlier)
    series = _Series.of(earlier, iterations)
    alarms = list(raised or ())
    active = ActiveAlarms(names, span)
    looked = 0
    for start, rows in _chunks(recording, names, len(iterations)):
        upto = int(np.searchsorted(taken, rows.iteration[-1], side="right"))
        if raised is None:
            alarms += monitor.take(rows, taken[looked:upto], values[looked:upto])
        here = (alarm for alarm in alarms if rows.iteration[0] <= alarm.iteration <= rows.iteration[-1])
        active.take(rows, (alarm for alarm in here if limits.stops(alarm.rule)))
        looked = upto
        series.put(len(earlier) + start, rows)

    onset = find_onset(
        series.iterations, series.loss, series.gradient_l2, series.nonfinite, span, names.params, active.now
    )
    if onset is not None:
        onset = localize(onset, series.iterations, series.gradient_l2, taken, values, names)
        row = int(np.searchsorted(iterations, onset.iteration))
        around = slice(max(0, row - INPUT_ROWS), min(row + INPUT_ROWS, len(iterations)))
        near = (earlier if not around.start else no_rows(names)) + recorded_rows(recording, names, around)
        onset = with_evidence(onset, unusual_input(onset.iteration, near, names))
    return Detection(tuple(alarms), onset, tuple(active.now), names)


def display_interval(recording: Recording) -> int:
    """Return the display interval of the solver in a recording; 0 where it displays nothing.

    Raises:
        BadInput: the recording holds no solver that can be read.
    """
    return solver.display_interval(
        parse_text(str(recording.attributes.get("solver", "")), pb.SolverParameter, recording.path)
    )


@dataclass(frozen=True)
class _Series:
    """The series that an onset is found by, of all T iterations."""

    iterations: Ints  # (T,)
    loss: Floats  # (T,)
    gradient_l2: Floats  # (T, P)
    nonfinite: Bools  # (T, P)

    @classmethod
    def of(cls, earlier: Rows, iterations: Ints) -> _Series:
        """Return the series with the values of the `earlier` iterations, those of `iterations` to be put in."""
        known, shape = len(earlier), (len(earlier) + len(iterations), earlier.gradient_l2.shape[1])
        loss, gradient, nonfinite = np.empty(shape[0]), np.empty(shape), np.empty(shape, bool)
        loss[:known], gradient[:known] = earlier.loss, earlier.gradient_l2
        nonfinite[:known] = earlier.gradient_nonfinite > 0
        return cls(np.append(earlier.iteration, iterations), loss, gradient, nonfinite)

    def put(self, start: int, rows: Rows) -> None:
        """Put the values of `rows` in, from position `start` on."""
        here = slice(start, start + len(rows))
        self.loss[here], self.gradient_l2[here] = rows.loss, rows.gradient_l2
        self.nonfinite[here] = rows.gradient_nonfinite > 0


def _chunks(recording: Recording, names: Names, count: int) -> Iterator[tuple[int, Rows]]:
    for start in range(0, count, _CHUNK):
        yield start, recorded_rows(recording, names, slice(start, min(start + _CHUNK, count)))


def _earlier(recording: Recording, iterations: Ints, names: Names) -> Rows:
    """Return the last iterations of the run that this one continues, where they are there and their columns fit."""
    run = recording.goes_on_from
    earlier = rows_before(run, int(iterations[0])) if run is not None and len(iterations) else None
    return no_rows(names) if earlier is None else earlier.with_columns_of(names)
