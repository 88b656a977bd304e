"""Recognise in a recording that its records are sorted by class, and describe it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.net import data_param_of
from harness.diagnosis.label_order import Run, Trend, long_runs, period_of, repeats_after, trends
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.live.rows import Names
from harness.diagnosis.robust_stats import Floats, Ints
from harness.errors import BadInput
from harness.recording import Recording
from harness.schemas.run_info import DataSource

_NAMED = 3  # runs that are described one by one
_ALL = 0.5  # share of the iterations that the runs have where all records are sorted
_RECENT = 200_000  # iterations that are examined, at most


@dataclass(frozen=True)
class SortedRecords:
    """Labels that come in the order of their class.

    Attributes:
        blob: the blob of the labels.
        runs, trends: where they do (see `label_order`); one of them may be empty.
        share: the share of the iterations in `runs`.
        period: the iterations after which the order repeats; None where that is not known.
        is_epoch: the period is that of all records once.
        loss_repeats: the loss of single iterations has the same period.
    """

    blob: str
    runs: tuple[Run, ...]
    trends: tuple[Trend, ...]
    share: float
    period: int | None
    is_epoch: bool
    loss_repeats: bool

    @property
    def sentence(self) -> str:
        """What was seen, in one or two sentences."""
        what = self._runs() if self.runs else self._trend()
        if self.period is None:
            return f"{what}."
        epoch = ", one epoch" if self.is_epoch else ""
        loss = "The order and the loss repeat" if self.loss_repeats else "The order repeats"
        return f"{what}. {loss} every {self.period:,} iterations{epoch}."

    def _runs(self) -> str:
        first, *rest = self.runs[:_NAMED]
        more = f" (and {len(self.runs) - _NAMED} more such runs)" if len(self.runs) > _NAMED else ""
        parts = [f"{_span(first)} are all {first.label:g}", *(f"of {_span(run)} all {run.label:g}" for run in rest)]
        some = "records" if self.share >= _ALL else "some of the records"
        return (
            f"The labels ({self.blob}) of iterations {', '.join(parts)}{more}: {some} come in the order of their class"
        )

    def _trend(self) -> str:
        first = self.trends[0]
        return (
            f"Records come in the order of their class: from iteration {first.first:,} to {first.last:,}, the labels "
            f"({self.blob}) move from batch to batch by {first.share:.0%} of what they would in random order"
        )


def sorted_records(recording: Recording, names: Names, limits: Limits) -> tuple[SortedRecords, ...]:
    """Examine the labels of classes of a recording; those in random order, or of one class only, give nothing."""
    if not names.labels:
        return ()
    count = len(recording.iterations)
    rows = slice(max(0, count - _RECENT), count)
    low, high = (recording.input_stat(name, rows) for name in ("minimum", "maximum"))
    loss = recording.series("loss", rows)
    found = (_examine(recording, name, low.iterations, low[name], high[name], loss, limits) for name in names.labels)
    return tuple(part for part in found if part is not None)


def _examine(
    recording: Recording,
    blob: str,
    iterations: Ints,
    low: Floats,
    high: Floats,
    loss: Floats,
    limits: Limits,
) -> SortedRecords | None:
    known = np.isfinite(low + high)
    runs = long_runs(iterations[known], low[known], high[known], limits.label_runs.surprise)
    moving = trends(iterations[known], low[known], high[known], limits.label_trend.share)
    if not runs and not moving:
        return None
    period = period_of(low + high)
    epoch = _epoch(recording, blob)
    return SortedRecords(
        blob=blob,
        runs=tuple(runs),
        trends=tuple(moving),
        share=sum(run.length for run in runs) / len(iterations),
        period=period,
        is_epoch=period is not None and epoch is not None and abs(period - epoch) < 1,
        loss_repeats=period is not None and repeats_after(loss, period),
    )


def _epoch(recording: Recording, blob: str) -> float | None:
    """Return the iterations in which the data layer of `blob` reads all its records; None if that is not known."""
    try:
        data = msgspec.json.decode(str(recording.attributes.get("data", "{}")), type=dict[str, DataSource])
        net = parse_text(str(recording.attributes.get("net", "")), pb.NetParameter, recording.path)
        solver = parse_text(str(recording.attributes.get("solver", "")), pb.SolverParameter, recording.path)
    except (BadInput, msgspec.DecodeError):
        return None
    for layer in net.layer:
        if blob in layer.top and not layer.bottom:
            param = data_param_of(layer)
            records = data[param.source].records if param.source in data else 0
            each = param.batch_size * max(1, solver.iter_size)
            return records / each if records and each else None
    return None


def _span(run: Run) -> str:
    return f"{run.first:,} to {run.last:,}"
