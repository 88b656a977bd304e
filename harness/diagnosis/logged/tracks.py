"""What of a log is looked at: the displays of the total, and each loss of the net as a track of its own."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import numpy as np

from harness.caffe_log.model import LoggedOutput, LogRun, Series
from harness.diagnosis.log_facts import Facts
from harness.diagnosis.logged.dating import AverageSpan, Displays, display_interval
from harness.diagnosis.logged.findings import Source
from harness.diagnosis.logged.levels import Floats, Ints

SATURATED = -math.log(float(np.finfo(np.float32).tiny))  # 87.3365, the most that SoftmaxWithLoss counts for an image
TOTAL = "(total)"  # a track that stands for all heads together, where a log shows nothing else


@dataclass(frozen=True)
class Track:
    """A loss, and what it would be for a net that knows nothing (`uniform`) or is certain and wrong (`saturated`).

    `fresh`: the log begins with the first iteration; `resumed`: with that at which a run was resumed.
    """

    name: str
    weight: float
    iterations: Ints
    values: Floats  # as displayed, NaN and infinity too
    window: int
    classes: int | None
    source: Source | None
    uniform: float | None
    saturated: float
    fresh: bool
    resumed: bool = False
    about: bool = False

    @property
    def finite(self) -> Floats:
        return self.values[np.isfinite(self.values)]


def losses_of(run: LogRun) -> list[LoggedOutput]:
    return [output for output in run.outputs if output.weight]


def resumed_at(run: LogRun) -> int:
    """The iteration at which a resumed run began, by the name of its solverstate, else by its first display."""
    if run.resumed_from is None:
        return 0
    named = re.search(r"_iter_(\d+)\.solverstate", run.resumed_from)
    return int(named[1]) if named else int(run.loss.iterations[0]) if len(run.loss.iterations) else 0


def displays_of(run: LogRun, facts: Facts) -> Displays:
    """The displays of a run, with the loss of each iteration alone: the weighted sum of its outputs."""
    iterations, outputs = run.loss.iterations, losses_of(run)
    single = np.full(len(iterations), 0.0 if outputs else np.nan)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        for output in outputs:
            single = single + (output.weight or 0) * values_at(iterations, output.series)
    interval = display_interval(iterations, facts)
    first = int(iterations[0]) if len(iterations) else 0
    start = resumed_at(run) if run.resumed_from else 0 if first <= interval else first
    return Displays(iterations, run.loss.values, single, interval, start)


def values_at(iterations: Ints, series: Series) -> Floats:
    """(N,) the values of a series at `iterations`, NaN where it was not displayed."""
    values = np.full(len(iterations), np.nan)
    if len(series.iterations):
        rows = np.minimum(np.searchsorted(series.iterations, iterations), len(series.iterations) - 1)
        same = series.iterations[rows] == iterations
        values[same] = series.values[rows[same]]
    return values


def usable_total(displays: Displays) -> tuple[Displays, bool]:
    """The finite displays of the total, or of the single losses where one NaN has spoiled the mean for good: the mean
    is updated by differences (Solver::UpdateSmoothedLoss)."""
    values = displays.values
    broken = len(values) and not np.isfinite(values[-1])
    alone = displays.single[-3:]
    poisoned = bool(broken and len(alone) and np.all(np.isfinite(alone)))
    if poisoned:
        values = displays.single
    ok = np.isfinite(values)
    usable = replace(displays, iterations=displays.iterations[ok], values=values[ok], single=displays.single[ok])
    return usable, poisoned


def tracks_of(run: LogRun, displays: Displays, window: AverageSpan, facts: Facts) -> list[Track]:
    """A track for each loss that the log shows, or one for the total, where it shows nothing else."""
    fresh = run.resumed_from is None and displays.start == 0
    logged = [_track(output.name, output.weight or 1, output.series, facts) for output in losses_of(run)]
    tracks = [replace(track, fresh=fresh, resumed=run.resumed_from is not None) for track in logged]
    if tracks or not len(displays.values):
        return tracks
    # an average_loss that is not known must not make smooth what may be single losses
    size = 1 if window.assumed else window.size
    total = _track(TOTAL, 1, run.loss, facts)
    track = replace(total, window=size, fresh=fresh, resumed=run.resumed_from is not None)
    if facts.heads and all((head.classes or 0) > 1 and head.weight > 0 for head in facts.heads):
        weights = sum(head.weight for head in facts.heads)
        uniform = sum(head.weight * math.log(head.classes or 1) for head in facts.heads)
        fewest = min(head.classes or 2 for head in facts.heads)
        return [replace(track, classes=fewest, source="net", uniform=uniform, saturated=SATURATED * weights)]
    return [track]


def test_tracks(run: LogRun, facts: Facts) -> list[Track]:
    """The losses of the test nets, each pass a mean over many batches."""
    return [
        replace(_track(output.name, output.weight or 1, output.series, facts), fresh=run.resumed_from is None)
        for net in run.tests
        for output in net
        if output.weight
    ]


def _track(name: str, weight: float, series: Series, facts: Facts) -> Track:
    head = next((head for head in facts.heads if head.name == name), None)
    classes: int | None = head.classes if head is not None else None
    source: Source | None = "net" if classes else None
    # where the net tells the classes of some heads, the others are no softmax, whatever --classes says
    if classes == 1 or facts.classes == 1:  # whose softmax always costs 0
        return _track(name, weight, series, replace(facts, heads=(), classes=None))
    if not classes and (head is None or not any(h.classes for h in facts.heads)):
        classes, source = facts.classes, "given" if facts.classes else None
    return Track(
        name=name,
        weight=weight,
        iterations=series.iterations,
        values=series.values,
        window=1,
        classes=classes,
        source=source,
        uniform=math.log(classes) if classes else None,
        saturated=SATURATED,
        fresh=False,
    )
