"""The series that are examined: the displays of the total loss, and each loss of the net as a track of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from harness.caffe_files.log_header import LogHeader
from harness.caffe_log.model import LoggedOutput, LogRun, Series
from harness.diagnosis.conditions import MAX_LOSS, chance_loss, total_chance_loss
from harness.diagnosis.logged.displays import AverageSpan, Displays, display_interval
from harness.diagnosis.logged.findings import Source
from harness.diagnosis.robust_stats import Floats, Ints

TOTAL = "(total)"  # the name of a track that stands for all heads, where a log shows only the total


@dataclass(frozen=True)
class Track:
    """The displays of one loss.

    Attributes:
        values: as displayed, including NaN and infinity.
        span: iterations that a value is the mean over.
        approximate: `classes` is not certain to the last digit.
        chance: its chance level; None where the number of classes is not known.
        saturated: what it is for a net that is certain of a wrong class for every record.
        fresh: the log begins with the first iteration.
        resumed: the log begins with the iteration at which a run was resumed.
    """

    name: str
    weight: float
    iterations: Ints
    values: Floats
    span: int
    classes: int | None
    source: Source | None
    chance: float | None
    saturated: float
    fresh: bool
    resumed: bool = False
    approximate: bool = False

    @property
    def finite(self) -> Floats:
        """The finite values."""
        return self.values[np.isfinite(self.values)]

    @property
    def begins(self) -> bool:
        """Whether its first display is the first of a run, by the distance to the next."""
        return len(self.iterations) > 1 and bool(self.iterations[0] <= self.iterations[1] - self.iterations[0])


def losses_of(run: LogRun) -> list[LoggedOutput]:
    """Return the outputs of the train net that are losses."""
    return [output for output in run.outputs if output.weight]


def resumed_at(run: LogRun) -> int:
    """Return the iteration at which a resumed run began, by the name of its solverstate, else by its first display.

    A run that was not resumed began at 0.
    """
    if run.resumed_from is None:
        return 0
    named = re.search(r"_iter_(\d+)\.solverstate", run.resumed_from)
    return int(named[1]) if named else int(run.loss.iterations[0]) if len(run.loss.iterations) else 0


def displays_of(run: LogRun, header: LogHeader) -> Displays:
    """Return the displays of a run, with the loss of each iteration alone: the weighted sum of its outputs."""
    iterations, outputs = run.loss.iterations, losses_of(run)
    single = np.full(len(iterations), 0.0 if outputs else np.nan)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        for output in outputs:
            single = single + (output.weight or 0) * values_at(iterations, output.series)
    interval = display_interval(iterations, header)
    first = int(iterations[0]) if len(iterations) else 0
    start = resumed_at(run) if run.resumed_from else 0 if first <= interval else first
    return Displays(iterations, run.loss.values, single, interval, start)


def values_at(iterations: Ints, series: Series) -> Floats:
    """(N,) Return the values of a series at `iterations`, NaN where it was not displayed."""
    values = np.full(len(iterations), np.nan)
    if len(series.iterations):
        rows = np.minimum(np.searchsorted(series.iterations, iterations), len(series.iterations) - 1)
        same = series.iterations[rows] == iterations
        values[same] = series.values[rows[same]]
    return values


def usable_total(displays: Displays) -> tuple[Displays, bool]:
    """Return the finite displays of the total, and whether the displayed mean is poisoned.

    One NaN spoils the mean for good, because Caffe updates it by differences (Solver::UpdateSmoothedLoss). If the
    losses of the last iterations are finite all the same, they are used instead of it.
    """
    values = displays.values
    broken = len(values) and not np.isfinite(values[-1])
    alone = displays.single[-3:]
    poisoned = bool(broken and len(alone) and np.all(np.isfinite(alone)))
    if poisoned:
        values = displays.single
    ok = np.isfinite(values)
    usable = replace(displays, iterations=displays.iterations[ok], values=values[ok], single=displays.single[ok])
    return usable, poisoned


def tracks_of(run: LogRun, displays: Displays, span: AverageSpan, header: LogHeader) -> list[Track]:
    """Return a track for each loss that the log shows, or one for the total where it shows nothing else."""
    fresh = run.resumed_from is None and displays.start == 0
    logged = [_track(output.name, output.weight or 1, output.series, header) for output in losses_of(run)]
    tracks = [replace(track, fresh=fresh, resumed=run.resumed_from is not None) for track in logged]
    if tracks or not len(displays.values):
        return tracks
    # an average_loss that is not known must not smooth what may be single losses
    size = 1 if span.assumed else span.size
    total = _track(TOTAL, 1, run.loss, header)
    track = replace(total, span=size, fresh=fresh, resumed=run.resumed_from is not None)
    if header.heads and all((head.classes or 0) > 1 and head.weight > 0 for head in header.heads):
        weights = sum(head.weight for head in header.heads)
        chance = total_chance_loss(header.heads)
        fewest = min(head.classes or 2 for head in header.heads)
        return [replace(track, classes=fewest, source="net", chance=chance, saturated=MAX_LOSS * weights)]
    return [track]


def test_tracks(run: LogRun, header: LogHeader) -> list[Track]:
    """Return the losses of the test nets; each pass is a mean over many batches."""
    return [
        replace(_track(output.name, output.weight or 1, output.series, header), fresh=run.resumed_from is None)
        for net in run.tests
        for output in net
        if output.weight
    ]


def _track(name: str, weight: float, series: Series, header: LogHeader) -> Track:
    head = next((head for head in header.some_heads or header.heads if head.name == name), None)
    classes: int | None = head.classes if head is not None else None
    source: Source | None = "net" if classes else None
    # where the net shows the classes of some heads, the others are no softmax, whatever --classes is
    if classes == 1 or header.classes == 1:  # the softmax of a single class always costs 0
        return _track(name, weight, series, replace(header, heads=(), some_heads=(), classes=None))
    if not classes and (head is None or not any(h.classes for h in header.heads)):
        classes, source = header.classes, "given" if header.classes else None
    return Track(
        name=name,
        weight=weight,
        iterations=series.iterations,
        values=series.values,
        span=1,
        classes=classes,
        source=source,
        chance=chance_loss(classes) if classes else None,
        saturated=MAX_LOSS,
        fresh=False,
    )
