"""What a training was like while it was healthy, read from its recording."""

from __future__ import annotations

from pathlib import Path

from harness.caffe_files.solver import display_interval
from harness.diagnosis.cause.case import Case
from harness.diagnosis.rescue.evidence import acts_from_start, cause_of
from harness.diagnosis.rescue.trend import Healthy, healthiest, trend_of
from harness.recording import Recording
from harness.recording.lineage_reader import LineageReader
from harness.schemas.explanation import Explanation


def healthy_before(run: Path, case: Case, found: Explanation, earlier: Healthy | None) -> Healthy | None:
    """Return what a training was like before its break, before what broke it began to act, or at an `earlier` break.

    None where what broke it has acted from its start, as a rate does that is too high: with that it may never have
    learned as well as it can.
    """
    display = display_interval(case.solver)
    stretches = [earlier]
    for at in () if acts_from_start(found) else {case.at, cause_of(case, found)}:
        trend = trend_of(case.iterations, case.loss, at, display)
        stretches.append(None if trend is None else Healthy(trend, last_test(run, 0, at)))
    return healthiest(stretches, case.until)


def last_test(run: Path, first: int, last: int) -> dict[str, float]:
    """Return the outputs of the first test net in the last pass from iteration `first` to `last`; none without one."""
    found: dict[str, float] = {}
    with LineageReader(Recording(run)) as lineage:
        for name in lineage.test_outputs() if lineage.test_nets else ():
            times, values = lineage.test(name)
            values = values[(first <= times) & (times <= last)]
            if len(values) and values.shape[1] == 1:
                found[name] = float(values[-1, 0])
    return found
