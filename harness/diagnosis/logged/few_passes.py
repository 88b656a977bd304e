"""Judge a run by test passes that show neither a plateau nor NaN: by what they have learned so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.caffe_log.model import LoggedOutput, LogRun
from harness.diagnosis.conditions import Verdict
from harness.diagnosis.logged.findings import Why
from harness.diagnosis.logged.heads import LOW
from harness.diagnosis.robust_stats import Floats

_GOOD = 0.6  # an accuracy that guessing among two classes does not reach
_RISEN = 0.1  # by which an accuracy rose
_FALLEN = 0.1  # share of a test loss that it fell by
_SAME, _GUESS = 3, 0.02  # passes with one accuracy, which is 1 / classes to within 2%
_MOST_CLASSES = 1000


def accuracies_of(run: LogRun) -> list[float]:
    """Return the accuracies of the train net (means) and of the test nets (at the last pass), between 0 and 1."""
    means = [float(np.mean(output.series.values)) for output in run.outputs if _is_accuracy(output)]
    return means + [float(output.series.values[-1]) for output in _of_tests(run)]


def judge_passes(run: LogRun) -> tuple[Verdict, Why] | None:
    """Return the verdict of test passes alone; None where they show nothing."""
    accuracies = [output.series.values for output in _of_tests(run)]
    losses = [o.series.values for net in run.tests for o in net if o.weight and len(o.series.values)]
    if any(not np.all(np.isfinite(values)) for values in losses):
        return None
    if accuracies and all(_is_stuck(values) for values in accuracies):
        return "uniform-softmax", "tests"
    if any(values[-1] > values[0] * (1 + _FALLEN) for values in losses):  # it gets worse
        return None
    good = any(values[-1] > _GOOD for values in accuracies)
    rises = any(values[-1] - values[0] > _RISEN for values in accuracies)
    low = not accuracies and losses and all(0 < values[-1] < LOW for values in losses)
    falls = losses and any(values[-1] < (1 - _FALLEN) * values[0] for values in losses)
    return ("healthy", "tests") if good or rises or low or falls else None


def _is_stuck(values: Floats) -> bool:
    """Check whether an accuracy is the same in every pass, but for the first, and that of guessing."""
    later = values[1:] if len(values) > _SAME else values
    if len(later) < _SAME or np.ptp(later) > 0 or not later[0] > 0 or values[0] > (1 + _RISEN) * later[0]:
        return False
    classes = round(1 / float(later[0]))
    return 1 < classes <= _MOST_CLASSES and abs(later[0] * classes - 1) < _GUESS


def _of_tests(run: LogRun) -> Sequence[LoggedOutput]:
    return [output for net in run.tests for output in net if _is_accuracy(output)]


def _is_accuracy(output: LoggedOutput) -> bool:
    """Check whether an output may be an accuracy: no loss, and between 0 and 1."""
    values, name = output.series.values, output.name.lower().rpartition("/")[2]
    return bool(
        output.weight is None
        and len(values)
        and "loss" not in name
        and np.all(np.isfinite(values))
        and 0 <= values.min() <= values.max() <= 1
    )
