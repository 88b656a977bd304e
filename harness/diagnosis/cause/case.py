"""The case: the facts of a broken run that an investigation begins with, read from its recording."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from harness.caffe_files.layer_types import IMAGES, ROWS, WINDOWS
from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.net import data_param_of
from harness.diagnosis.cause.course import (
    LEVEL,
    finite_median,
    iterations_needed,
    levels_of,
    returned_after,
    within_reach,
)
from harness.diagnosis.cause.start_sizes import unusual_sizes
from harness.diagnosis.conditions import total_chance_loss
from harness.diagnosis.live.rows import rows_before
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.diagnosis.robust_stats import Floats, Ints, total_norm
from harness.recording import Recording
from harness.recording.digests import Digests
from harness.recording.run_directory import read_info
from harness.schemas.explanation import Levels
from harness.schemas.layout import Head, Param
from harness.training_data.batches import first_batches
from harness.training_data.records import RecordsUnknown
from harness.training_data.same_records import with_records_of

BEFORE = 5  # iterations before the onset at which arms start
_PAST = 4000  # iterations before the onset whose batches are read in place of others
_AHEAD = 8  # times what an arm has: iterations after the onset of which it is known whether they read the same records


@dataclass(frozen=True)
class Reading:
    """The records that an iteration reads: `count` in each of `layers` (empty: in all data layers), over all passes."""

    layers: tuple[str, ...]
    count: int


@dataclass(frozen=True)
class Case:
    """A broken run.

    Attributes:
        at: the iteration at which it went wrong: the onset, or the one that the user gives.
        first: the first iteration from which it can be replayed.
        kept: the iteration whose state the run kept, from which an unchanged replay went to `first`.
        start: at which arms start, unless they need to start earlier.
        after: iterations from `at` on that arms have.
        levels: of the loss.
        solver, net: of the run.
        params: the learnable blobs, in update order.
        iterations, loss, rate, gradient_l2: (T,) the recorded series; the norm is of all blobs together.
        seconds: that an iteration took, the median.
        jitter: by which weights can be jittered with the control still breaking; 0 until that was tried.
        from_weights: training began from weights that another one has left: a caffemodel or a snapshot.
        began: the first iteration that the run trained.
        rate_before: the last rate of the run that this one continues; NaN without one.
        earliest: the first iteration whose batches can be read in place of others.
        alike: iterations that read a record which was read near the break.
        sorted_from: the iteration from which on records come in the order of their class up to the break; None if
            they do not.
        recovered_by: the iteration by which the recorded loss is back at its level of before: the last one, or that
            before it departs again and breaks later; None if it is not back.
        digest: (T,) the recorded digests of the weights before each iteration.
        inputs: (T, 2 I) mean and largest magnitude of each input that is no label; no columns where not recorded.
        heads: the losses.
        start_sizes: of the layers whose weights were unusually large or small when the run began: by which factor.
        usual_steps: by layer, how large its update is in relation to its weights: the median before `at`.
    """

    at: int
    first: int
    kept: int
    start: int
    after: int
    levels: Levels
    solver: pb.SolverParameter
    net: pb.NetParameter
    params: tuple[Param, ...]
    iterations: Ints
    loss: Floats
    rate: Floats
    gradient_l2: Floats
    seconds: float
    jitter: float = 0.0
    from_weights: bool = False
    began: int = 0
    rate_before: float = math.nan
    earliest: int = 0
    alike: frozenset[int] = frozenset()
    sorted_from: int | None = None
    recovered_by: int | None = None
    digest: Digests = field(default_factory=lambda: np.empty(0, np.uint64))
    inputs: Floats = field(default_factory=lambda: np.empty((0, 0)))
    heads: tuple[Head, ...] = ()
    start_sizes: Mapping[str, float] = field(default_factory=dict)
    usual_steps: Mapping[str, float] = field(default_factory=dict)

    @property
    def horizon(self) -> int:
        """The iterations of an arm that starts at `start`."""
        return self.until - self.start

    @property
    def until(self) -> int:
        """The iteration before which arms end."""
        return self.at + self.after

    def rest(self, start: int) -> int:
        """Return the iterations of an arm that starts at `start`, which may be after `at`."""
        return max(self.until, start + self.after) - start

    @property
    def last(self) -> int:
        """The last iteration that was recorded."""
        return int(self.iterations[-1])

    @cached_property
    def momentum(self) -> float:
        return float(self.solver.momentum)

    @property
    def usual_gradient(self) -> float:
        """The median norm of the gradient before the break."""
        before = self.gradient_l2[self.row(self.at) - LEVEL if self.row(self.at) > LEVEL else 0 : self.row(self.at)]
        finite = before[np.isfinite(before)]
        return float(np.median(finite)) if finite.size else math.nan

    def row(self, iteration: int) -> int:
        """Return the row of an iteration in the series."""
        return int(np.searchsorted(self.iterations, iteration))

    def rate_at(self, iteration: int) -> float:
        """Return the recorded learning rate of an iteration; of the last one for later ones."""
        return float(self.rate[min(self.row(iteration), len(self.rate) - 1)])

    def with_jitter(self, jitter: float) -> Case:
        return replace(self, jitter=jitter)

    def starting(self, back: int) -> Case:
        """Return the case with arms that start `back` iterations before the onset, as far as that is possible."""
        return replace(self, start=max(self.first, self.at - back))

    @cached_property
    def readings(self) -> tuple[Reading, ...]:
        """What the data layers read in an iteration; empty where none of them says how much."""
        sizes: dict[int, list[str]] = {}
        for layer in self.net.layer:
            if size := _batch_size(layer):
                sizes.setdefault(size * int(self.solver.iter_size), []).append(layer.name)
        if len(sizes) == 1:
            return (Reading((), next(iter(sizes))),)
        return tuple(Reading(tuple(dict.fromkeys(names)), count) for count, names in sizes.items())

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that learn, in update order."""
        return tuple(dict.fromkeys(p.layer for p in self.params if p.lr_mult))


def start_within_reach(recording: Recording, onset: int) -> int:
    """Return the iteration near which arms are to start: the onset, or shortly before the loss stays broken.

    From an onset long before that, arms would not reach the break.
    """
    iterations = recording.iterations
    loss = np.asarray(recording.series("loss", slice(0, len(iterations))), np.float64)
    row = within_reach(loss, int(np.searchsorted(iterations, onset)), total_chance_loss(recording.heads))
    return int(iterations[row])


def read_case(recording: Recording, diagnosis: Diagnosis, at: int, first: int, kept: int) -> Case:
    """Read the case of a run that went wrong at iteration `at`; for `first` and `kept`, see `Case`."""
    iterations = recording.iterations
    run = recording.path.parent
    info = read_info(run)
    loss = np.asarray(recording.series("loss", slice(0, len(iterations))), np.float64)
    row = int(np.searchsorted(iterations, at))
    chance = total_chance_loss(recording.heads)
    loss_before, rate_before = _before(recording)
    net = parse_text(info.net, pb.NetParameter, Path("run.json"))
    past = np.concatenate([loss_before, loss[:row]])
    levels = levels_of(past, loss[row:], chance)
    after = iterations_needed(loss[row:], levels)
    onset = None if diagnosis.onset is None else int(np.searchsorted(iterations[row:], diagnosis.onset.iteration))
    returned = returned_after(past, loss[row:], onset, chance)
    earliest = _earliest(run, info.first, at)
    return Case(
        at=at,
        first=first,
        kept=kept,
        start=max(first, at - BEFORE),
        after=after,
        levels=levels,
        solver=parse_text(info.solver, pb.SolverParameter, Path("run.json")),
        net=net,
        params=recording.params,
        iterations=iterations,
        loss=loss,
        rate=np.asarray(recording.series("lr", slice(0, len(iterations))), np.float64),
        gradient_l2=total_norm(recording.stat("gradient_l2").values),
        seconds=finite_median(recording.series("seconds", slice(0, len(iterations)))),
        from_weights=info.first > 0 or bool(info.weights),
        began=info.first,
        rate_before=rate_before,
        earliest=earliest,
        alike=_alike(run, info.first, at, range(earliest, at + _AHEAD * (after + BEFORE))),
        recovered_by=None if returned is None else int(iterations[row + returned - 1]),
        sorted_from=sorted_from(diagnosis, at),
        inputs=_inputs(recording, diagnosis),
        digest=np.asarray(recording.series("digest", slice(0, len(iterations))), np.uint64),
        heads=recording.heads,
        start_sizes=unusual_sizes(recording, net),
        usual_steps=_usual_steps(recording, row),
    )


def _earliest(run: Path, first: int, at: int) -> int:
    """Return the first iteration whose batches can be read, not too far before `at`; the run begins with `first`."""
    with suppress(RecordsUnknown):  # no arm of this run is possible then
        first = first_batches(run)
    return max(first, at - _PAST)


def _alike(run: Path, first: int, at: int, among: range) -> frozenset[int]:
    """Return the iterations of `among` that read a record from near `at`: from so near that most of them do not."""
    for width in (BEFORE, 1):  # on both sides: several batches in a row may break it
        found = with_records_of(run, range(max(first, at - width), at + width + 1), among)
        if 2 * len(found) <= len(among):
            return found
    return frozenset()


def sorted_from(diagnosis: Diagnosis, at: int) -> int | None:
    """Return where the runs of labels of one class begin that reach the iteration `at`, one after the other."""
    first = None
    for order in diagnosis.order:
        for run in sorted(order.runs, key=lambda run: -run.first):
            length = run.last - run.first + 1
            if run.first <= at and (at if first is None else first) - run.last <= length:
                first = run.first
    return first


def _inputs(recording: Recording, diagnosis: Diagnosis) -> Floats:
    """Read mean and largest magnitude of the inputs that are no labels (T, 2 I)."""
    if not recording.inputs:
        return np.empty((len(recording.iterations), 0))
    measured = diagnosis.names.measured
    low, high, mean = (recording.input_stat(name).values for name in ("minimum", "maximum", "mean_abs"))
    largest = np.maximum(np.abs(low), np.abs(high))
    return np.concatenate([np.asarray(mean)[:, measured], largest[:, measured]], axis=1).astype(np.float64)


def _batch_size(layer: pb.LayerParameter) -> int:
    """Return how many records a data layer reads in a pass; 0 for other layers, and where the layer does not say."""
    if layer.type == "MemoryData":
        return int(layer.memory_data_param.batch_size)
    return int(data_param_of(layer).batch_size) if layer.type in IMAGES + ROWS + WINDOWS else 0


def _before(recording: Recording) -> tuple[Floats, float]:
    """Read the last losses and the last rate of the run that this one continues; none and NaN without one."""
    run, iterations = recording.goes_on_from, recording.iterations
    rows = rows_before(run, int(iterations[0])) if run is not None and len(iterations) else None
    return (np.empty(0), math.nan) if rows is None else (np.asarray(rows.loss, np.float64), float(rows.lr[-1]))


def _usual_steps(recording: Recording, row: int) -> dict[str, float]:
    """Return the median of update / weight, as norms, of each layer before row `row`."""
    rows = slice(max(0, row - LEVEL), row)
    updates, weights = (recording.stat(name, rows).values for name in ("update_l2", "weight_l2"))
    of = np.array([param.layer for param in recording.params])
    found = {}
    for layer in dict.fromkeys(of.tolist()):
        with np.errstate(all="ignore"):
            step = finite_median(total_norm(updates[:, of == layer]) / total_norm(weights[:, of == layer]))
        if math.isfinite(step):
            found[layer] = step
    return found
