"""Describe what a log shows of a run: its extent, its test passes, its start and its end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.caffe_files.log_header import LogHeader
from harness.caffe_log.model import LoggedOutput, LogRun
from harness.diagnosis.logged.displays import Displays
from harness.diagnosis.logged.findings import Coverage, Jump, Lifecycle, TestChange
from harness.diagnosis.logged.tracks import resumed_at


def coverage_of(run: LogRun, displays: Displays, header: LogHeader) -> Coverage:
    """Return the iterations displayed, or those tested where nothing is displayed."""
    shown = [int(i) for i in run.loss.iterations[[0, -1]]] if len(run.loss.iterations) else []
    shown = shown or sorted({int(i) for net in run.tests for output in net for i in output.series.iterations})
    first, last = (shown[0], shown[-1]) if shown else (0, 0)
    return Coverage(first, last, len(displays.iterations), 0 if header.display == 0 else displays.interval)


def changes_of(nets: Sequence[Sequence[LoggedOutput]], jump: Jump | None) -> tuple[TestChange, ...]:
    """Return each test output before the jump, or at the first pass, and at the last pass."""
    changes = []
    for number, outputs in enumerate(nets):
        for output in outputs:
            iterations, values = output.series.iterations, output.series.values
            if not len(values):
                continue
            before = np.flatnonzero(iterations < jump.iteration) if jump is not None else np.array([0])
            row = int(before[-1]) if len(before) else 0
            first, last = (int(iterations[row]), float(values[row])), (int(iterations[-1]), float(values[-1]))
            changes.append(TestChange(number, output.name, bool(output.weight), first, last))
    return tuple(changes)


def lifecycle_of(run: LogRun) -> Lifecycle:
    """Return how the run began and ended."""
    return Lifecycle(
        resumed_from=run.resumed_from,
        resumed_at=resumed_at(run) if run.resumed_from is not None else None,
        fatal=run.fatal,
        finished=run.finished,
    )
