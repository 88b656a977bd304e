"""Diagnose a recorded run: the results that reports, notebooks and figures show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from harness.caffe_files.messages import parse_text, pb
from harness.diagnosis.approach import LEVELS, Approach, approach
from harness.diagnosis.last_good import Choice, last_good
from harness.diagnosis.live.limits import Limits, read_limits
from harness.diagnosis.live.messages import sentence
from harness.diagnosis.live.rows import Names
from harness.diagnosis.recorded.batch import Batch, batch_or_reason
from harness.diagnosis.recorded.detect import detect, display_interval
from harness.diagnosis.recorded.distributions import (
    KINDS,
    Distribution,
    Element,
    distribution,
    largest_elements,
    moments_of,
)
from harness.diagnosis.recorded.heatmap import Heatmap, Quantity, heatmap, without_values_after
from harness.diagnosis.recorded.onset import level_width, span_of
from harness.diagnosis.recorded.propagation import Departure, propagation
from harness.diagnosis.recorded.run_status import RunStatus, run_status
from harness.diagnosis.recorded.sorted_records import SortedRecords, sorted_records
from harness.diagnosis.robust_stats import Floats, Ints, total_norm
from harness.recording import Recording
from harness.recording.readable import Readable
from harness.recording.repeats import Repeat
from harness.recording.run_directory import read_info
from harness.recording.snapshots import damaged_in, iterations_of
from harness.schemas.layout import Alarm, Param
from harness.schemas.onset import Onset
from harness.schemas.run_info import RunInfo

_CHUNK = 4096  # iterations read at a time
_BEFORE, _AFTER = 60, 100  # iterations around an onset that are shown one by one


@dataclass(frozen=True)
class Diagnosis:
    """The results for one run. Its recording must stay open while methods are used that read it.

    Attributes:
        recording: the run.
        kept: the recording whose windows are looked into: that of the run, or of a repeat of it (see `Repeat`).
        alarms: the alarms of the run, in the order in which they were raised.
        onset: the onset of the divergence; None for a run that did not diverge.
        approach: the loss before the onset; None without one, or where it is too near the beginning.
        status: the state at the end, with the loss before the onset and at the end.
        names: the names of the heads and blobs that alarms refer to.
        span: iterations over which levels of the loss are taken.
        snapshots: the iterations of the snapshots in the run directory.
        damaged: one sentence for each snapshot, and each window in a file of its own, that was left out.
        last_good: the last good snapshot, and the reason; None where there is none.
        propagation: the param blobs whose gradients left their baselines, in that order; empty without an onset.
        order: labels that come in the order of their class; empty for records in random order.
        around: rows of the recording around the onset (without one, the last rows), to show one by one.
        offender: the param blob to look into first; without an onset, the first one.
        moments: iterations in windows to compare: before the onset, at it, after it, and the last.
    """

    recording: Recording = field(repr=False, compare=False)
    kept: Recording = field(repr=False, compare=False)
    alarms: tuple[Alarm, ...]
    onset: Onset | None
    approach: Approach | None
    status: RunStatus
    names: Names
    span: int
    snapshots: tuple[int, ...]
    damaged: tuple[str, ...]
    last_good: Choice | None
    propagation: tuple[Departure, ...]
    order: tuple[SortedRecords, ...]
    around: slice
    offender: Param | None
    moments: tuple[int, ...]

    @property
    def moment(self) -> int | None:
        """The iteration of a window to look into: the onset, or the first of `moments` where no window has that."""
        at = self.onset.iteration if self.onset else None
        return at if at in self.moments else next(iter(self.moments), None)

    def with_windows_of(self, repeat: Repeat) -> Diagnosis:
        """Return the diagnosis with the windows of a repeat of the run in place of its own."""
        at = self.onset.iteration if self.onset else None
        return replace(self, kept=repeat.recording, moments=moments_of(repeat.iterations, at))

    @cached_property
    def not_finite_from(self) -> int | None:
        """The iteration from which on losses or gradients are not finite to the end of the run; None if they are."""
        if self.status.kind != "not finite":
            return None
        return not_finite_from(self.recording)

    def is_good(self, snapshot: int) -> bool:
        """Check whether a snapshot of that iteration is from before the onset, whose update comes after its weights."""
        return self.onset is None or snapshot <= self.onset.iteration

    def describe(self, alarm: Alarm) -> str:
        """Describe what an alarm saw, in one sentence."""
        return sentence(alarm, self.names)

    @property
    def info(self) -> RunInfo:
        """The run.json of the run: versions, seeds, data, parent, how it ended."""
        return read_info(self.recording.path.parent)

    @property
    def solver(self) -> pb.SolverParameter:
        """The solver of the run, as a message."""
        return parse_text(str(self.recording.attributes["solver"]), pb.SolverParameter, self.recording.path)

    def total_norm(self, statistic: str) -> Floats:
        """Compute the (T,) norms of all param blobs together from `weight_l2`, `gradient_l2` or `update_l2`."""
        count = len(self.recording.iterations)
        parts = [slice(first, min(first + _CHUNK, count)) for first in range(0, count, _CHUNK)]
        return np.concatenate(
            [np.empty(0), *(total_norm(self.recording.stat(statistic, part).values) for part in parts)]
        )

    def heatmap(
        self,
        quantity: Quantity,
        rows: slice | None = None,
        columns: int | None = None,
        lineage: Readable | None = None,
    ) -> Heatmap:
        """Compute a heat map of layers over iterations.

        Args:
            quantity: "gradient", "weight", "ratio" (update/weight) or "zeros" (zero fraction of the net's blobs).
            rows: rows of the recording; default: those `around` the onset.
            columns: of the heat map, at most; default: one per iteration.
            lineage: read it in place of the recording, which is its last part; `rows` are rows of it.
        """
        rows = self.around if rows is None else rows
        at = self.onset.iteration if self.onset else None
        source = self.recording if lineage is None else lineage
        count = len(source.iterations[rows])
        drawn = heatmap(source, quantity, rows, at, max(1, count if columns is None else columns))
        return without_values_after(drawn, self.not_finite_from)

    def distributions(self, param: Param | None = None) -> tuple[Distribution, ...]:
        """Compute the distributions of a param blob's weights and gradients at `moments`, as far as they were recorded.

        `param` is one of `Recording.params`; default: the offender.
        """
        param = self.offender if param is None else param
        if param is None or not self.moments:
            return ()
        found = (distribution(self.kept, param, kind, self.moments) for kind in KINDS)
        return tuple(part for part in found if part is not None)

    def largest_elements(self, count: int = 8, param: Param | None = None) -> tuple[Element, ...]:
        """Find the largest elements of a param blob (default: the offender) at `moment`."""
        param = self.offender if param is None else param
        return () if param is None or self.moment is None else largest_elements(self.kept, param, self.moment, count)

    def batch(self, iteration: int | None = None) -> Batch | None:
        """Read the inputs of an iteration, from a window or else from the data set.

        Default: those of the onset; where these are not known, or there is no onset, those of `moment`. None where they
        are not known either, or are no batch: see `why_no_batch`.
        """
        for at in self._batch_moments(iteration):
            found = batch_or_reason(self._holder(at), at)
            if not isinstance(found, str):
                return found
        return None

    def why_no_batch(self, iteration: int | None = None) -> str | None:
        """Tell why `batch` does not know the inputs of an iteration (default: of the onset); None where it does."""
        at = next(iter(self._batch_moments(iteration)), None)
        if at is None:
            return "There is no onset, and no window."
        found = batch_or_reason(self._holder(at), at)
        return found if isinstance(found, str) else None

    def _holder(self, iteration: int) -> Recording:
        return self.kept if iteration in self.kept.window_iterations else self.recording

    def _batch_moments(self, iteration: int | None) -> list[int]:
        if iteration is not None:
            return [iteration]
        moments = (self.onset.iteration if self.onset else None, self.moment)
        return list(dict.fromkeys(at for at in moments if at is not None))


def diagnose(
    recording: Recording,
    span: int | None = None,
    limits: Limits | None = None,
    raised: Sequence[Alarm] | None = None,
) -> Diagnosis:
    """Diagnose a recording.

    Args:
        span: the iterations over which a level is taken (0: 40); default: the solver's display interval.
        limits: of the rules; default: those of thresholds.toml.
        raised: the alarms, where they are known, because the rules take most of the time; default: apply the rules.

    Raises:
        BadInput: the recording holds no solver that can be read, and `span` is not given.
    """
    span = display_interval(recording) if span is None else span
    detected = detect(recording, span, limits, raised)
    onset = detected.onset
    at = onset.iteration if onset else None
    iterations = recording.iterations
    first, last = (int(iterations[0]), int(iterations[-1])) if len(iterations) else (0, -1)
    snapshots = tuple(sorted(iterations_of(recording.path.parent / "snapshots")))
    row = len(iterations) if at is None else int(iterations.searchsorted(at)) + _AFTER
    return Diagnosis(
        recording=recording,
        kept=recording,
        alarms=detected.alarms,
        onset=onset,
        approach=None if at is None else _approach(recording, at, level_width(span)),
        status=run_status(recording, detected, span),
        names=detected.names,
        span=span_of(span),
        snapshots=snapshots,
        damaged=(*damaged_in(recording.path.parent / "snapshots"), *recording.damaged_windows),
        last_good=last_good(snapshots, onset, span, first, last),
        propagation=propagation(recording, at) if at is not None else (),
        order=sorted_records(recording, detected.names, read_limits() if limits is None else limits),
        around=slice(max(0, row - _BEFORE - _AFTER), min(row, len(iterations))),
        offender=_offender(recording, onset),
        moments=moments_of(_with_params(recording), at),
    )


def _approach(recording: Recording, at: int, width: int) -> Approach | None:
    """Describe the loss before the onset at iteration `at`, by levels of `width` iterations."""
    row = int(recording.iterations.searchsorted(at))
    before = recording.series("loss", slice(max(0, row - LEVELS * width), row))
    return approach(before, recording.series("loss", slice(row, row + LEVELS * width)), width, slack=width)


def _with_params(recording: Recording) -> Ints:
    """Return the iterations in windows that hold weights or gradients; all of them where none does."""
    kept = recording.window_iterations
    whole = [bool({"weight", "gradient"} & set(recording.window_arrays(int(t)))) for t in kept]
    return kept[whole] if any(whole) else kept


def _offender(recording: Recording, onset: Onset | None) -> Param | None:
    params = recording.params
    named = next((p for p in params if onset is not None and p.label == onset.param), None)
    return named or next(iter(params), None)


def not_finite_from(recording: Recording) -> int | None:
    """Return the iteration from which on losses or gradients are not finite to the end; None if they are."""
    iterations, stop = recording.iterations, len(recording.iterations)
    while stop > 0:
        rows = slice(max(0, stop - _CHUNK), stop)
        bad = ~np.isfinite(recording.series("loss", rows))
        bad |= (recording.stat("gradient_nonfinite", rows).values > 0).any(axis=1)
        if not bad.all():
            stop = rows.start + int(np.flatnonzero(~bad)[-1]) + 1
            break
        stop = rows.start
    return int(iterations[stop]) if stop < len(iterations) else None
