"""Where two runs first differ, bit for bit: in their settings, their data, their arithmetic."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from harness.diagnosis.settings import Setting
from harness.errors import RecordingError
from harness.recording.reader import Recording
from harness.schemas.run_info import RunInfo
from harness.schemas.window import Window

Array = npt.NDArray[Any]
Kind = Literal["input", "loss", "gradient", "lr", "update"]  # of one iteration, in the order of their making
# What the first difference shows: `start`: the weights differed before any iteration that both recorded. `data`: the
# same weights saw other images. `forward`: the same weights and images gave another loss. `data or forward`: one of
# these, no window tells which. `backward`: the same loss gave another gradient. `rate`: the same gradient met another
# learning rate. `update`: it met the same one, yet momentum, decay or clipping differed.
Cause = Literal["start", "data", "forward", "data or forward", "backward", "rate", "update", "unknown"]


@dataclass(frozen=True)
class Span:
    """`count` iterations, from `first` to `last`."""

    first: int
    last: int
    count: int


@dataclass(frozen=True)
class Part:
    """One kind of value in the iteration where it began. `source` says what was compared: arrays of a window, norms of
    all blobs, or a series; `same` is None where neither was recorded by both."""

    kind: Kind
    same: bool | None
    source: Literal["window", "norms", "series"]


@dataclass(frozen=True)
class ArrayDifference:
    """The largest difference among the arrays of one kind in one iteration: element `index` of the array `label`.

    `elements` of its `size` elements differ, and so do `blobs` of the `compared` arrays. `largest` is |a - b|: infinite
    where one of them is no number, 0 where only the bits differ (0.0 and -0.0).
    """

    kind: Literal["weight", "input", "gradient", "update"]
    iteration: int
    label: str
    index: tuple[int, ...]
    a: float
    b: float
    largest: float
    elements: int
    size: int
    blobs: int
    compared: int


@dataclass(frozen=True)
class KeyDifference:
    """The first image that was another: its place in the batch, its LMDB keys (None beyond the end of a batch), and
    how many of the images of that iteration were others."""

    iteration: int
    position: int
    a: bytes | None
    b: bytes | None
    count: int


@dataclass(frozen=True)
class ValueDifference:
    """The first iteration at which a series differs."""

    name: str
    iteration: int
    a: float
    b: float


@dataclass(frozen=True)
class Comparison:
    """Two runs, over the iterations that both recorded.

    `weights` is the first t for which W_t differs; `moment` the iteration in which it began (None: nothing differs, or
    it was before), `parts` what was same there and what not, `arrays` the largest differences there, with the weights
    that came of it. `watch` is the window to record in both for a closer look, where it was not recorded yet.
    """

    a: Span | None
    b: Span | None
    common: Span | None
    weights: int | None
    moment: int | None
    cause: Cause | None
    parts: tuple[Part, ...]
    arrays: tuple[ArrayDifference, ...]
    key: KeyDifference | None
    values: tuple[ValueDifference, ...]
    settings: tuple[Setting, ...]
    watch: Window | None

    @property
    def identical(self) -> bool:
        """Nothing that was recorded of the training differs; settings may."""
        return self.common is not None and self.weights is None and not self.values and self.key is None


def compare(a: Recording, b: Recording, info_a: RunInfo, info_b: RunInfo, settings: tuple[Setting, ...]) -> Comparison:
    """Compare two recordings. `info_a` and `info_b` are their run.json; `settings` are those that differ."""
    common, rows_a, rows_b = np.intersect1d(a.iterations, b.iterations, return_indices=True)
    weights = _first_other_weights(a, b, info_a, info_b)
    values = _value_differences(a, b, common, rows_a, rows_b)
    moment = _moment(common, weights, values)
    parts: tuple[Part, ...] = ()
    arrays: list[ArrayDifference] = []
    if moment is not None:
        parts = _parts(a, b, moment, arrays)
    if weights is not None:
        _differ(a, b, "weight", weights, arrays)
    unseen = moment is not None and not any(p.source == "window" and p.same is not None for p in parts)
    return Comparison(
        a=_span(a.iterations),
        b=_span(b.iterations),
        common=_span(common),
        weights=weights,
        moment=moment,
        cause=_cause(weights, moment, parts),
        parts=parts,
        arrays=tuple(arrays),
        key=_first_other_key(a, b),
        values=values,
        settings=settings,
        watch=Window(moment, moment + 2) if unseen and moment is not None else None,
    )


# -- when ------------------------------------------------------------------------------------------------------------


def _span(iterations: Array) -> Span | None:
    return Span(int(iterations[0]), int(iterations[-1]), len(iterations)) if len(iterations) else None


def _first_other_weights(a: Recording, b: Recording, info_a: RunInfo, info_b: RunInfo) -> int | None:
    times_a, digests_a = _digests(a, info_a)
    times_b, digests_b = _digests(b, info_b)
    common, rows_a, rows_b = np.intersect1d(times_a, times_b, return_indices=True)
    other = np.flatnonzero(digests_a[rows_a] != digests_b[rows_b])
    return int(common[other[0]]) if len(other) else None


def _digests(recording: Recording, info: RunInfo) -> tuple[Array, Array]:
    """The digests of W_t, and where the run came to an end also that of the weights it ended with."""
    times, digests = recording.iterations, recording.series("digest")
    digests = digests[: len(times)]
    ended = info.ended
    if len(times) and ended is not None and ended.weight_digest and ended.iteration == times[-1] + 1:
        times = np.append(times, times[-1] + 1)
        digests = np.append(digests, np.uint64(int(ended.weight_digest, 16)))
    return times, digests


def _value_differences(
    a: Recording, b: Recording, common: Array, rows_a: Array, rows_b: Array
) -> tuple[ValueDifference, ...]:
    """The first difference of each series that both have: loss, lr, and every output of the train net."""
    pairs = [(name, a.series(name), b.series(name)) for name in ("loss", "lr")]
    names = [name for name in a.outputs if name in b.outputs]
    pairs += [(name, a.output(name), b.output(name)) for name in names]
    found = []
    for name, one, two in pairs:
        one, two = (v[rows] if v.ndim > 1 else v[rows, None] for v, rows in ((one, rows_a), (two, rows_b)))
        if one.shape != two.shape:
            continue
        other = _bits_differ(one, two)
        if other.any():
            row, column = np.argwhere(other)[0]
            found.append(ValueDifference(name, int(common[row]), float(one[row, column]), float(two[row, column])))
    return tuple(found)


def _moment(common: Array, weights: int | None, values: tuple[ValueDifference, ...]) -> int | None:
    """The first iteration in which something differs though the weights at its beginning are the same."""
    times = [v.iteration for v in values] + ([weights - 1] if weights is not None else [])
    moment = min(times, default=None)
    return moment if moment is not None and moment in common and (weights is None or moment < weights) else None


# -- what ------------------------------------------------------------------------------------------------------------


def _parts(a: Recording, b: Recording, moment: int, arrays: list[ArrayDifference]) -> tuple[Part, ...]:
    row_a, row_b = (int(np.flatnonzero(r.iterations == moment)[0]) for r in (a, b))

    def series(kind: Kind) -> Part:
        one, two = a.series(kind)[row_a : row_a + 1], b.series(kind)[row_b : row_b + 1]
        return Part(kind, not _bits_differ(one, two).any(), "series")

    def array(kind: Literal["input", "gradient", "update"], *stats: str) -> Part:
        differs = _differ(a, b, kind, moment, arrays)
        if differs is not None or not stats:
            return Part(kind, None if differs is None else not differs, "window")
        norms = [(a.stat(s).values[row_a], b.stat(s).values[row_b]) for s in stats]
        same = all(x.shape == y.shape and not _bits_differ(x, y).any() for x, y in norms)
        return Part(kind, same, "norms")

    return (
        array("input"),
        series("loss"),
        array("gradient", "gradient_l2", "gradient_max"),
        series("lr"),
        array("update", "update_l2"),
    )


def _cause(weights: int | None, moment: int | None, parts: tuple[Part, ...]) -> Cause | None:
    if moment is None:
        return None if weights is None else "start"
    first = next((part.kind for part in parts if part.same is False), None)
    if first == "loss":
        return "forward" if parts[0].same else "data or forward"
    causes: dict[Kind | None, Cause] = {"input": "data", "gradient": "backward", "lr": "rate", "update": "update"}
    return causes.get(first, "unknown")


def _differ(
    a: Recording,
    b: Recording,
    kind: Literal["weight", "input", "gradient", "update"],
    iteration: int,
    found: list[ArrayDifference],
) -> bool | None:
    """Do the arrays of a kind differ in an iteration (None: not both have them)? Adds the largest difference."""
    compared, largest = 0, None
    differing = 0
    if iteration not in a.window_iterations or iteration not in b.window_iterations:
        return None
    for name, index in _names(a, b, kind):
        one, two = _array(a, kind, iteration, name, index), _array(b, kind, iteration, name, index)
        if one is None or two is None or one.shape != two.shape:
            continue
        compared += 1
        other = _bits_differ(one, two)
        if not other.any():
            continue
        differing += 1
        with np.errstate(invalid="ignore"):
            distance = np.abs(one.astype(np.float64) - two.astype(np.float64))
        distance = np.where(other, np.where(np.isnan(distance), np.inf, distance), -1.0)
        place = np.unravel_index(int(np.argmax(distance)), distance.shape)
        if largest is None or distance[place] > largest[0]:
            label = name if index is None else f"{name}/{index}"
            largest = (float(distance[place]), label, place, one, two, int(other.sum()))
    if largest is not None:
        value, label, place, one, two, elements = largest
        found.append(
            ArrayDifference(
                kind=kind,
                iteration=iteration,
                label=label,
                index=tuple(map(int, place)),
                a=float(one[place]),
                b=float(two[place]),
                largest=value,
                elements=elements,
                size=one.size,
                blobs=differing,
                compared=compared,
            )
        )
    return differing > 0 if compared else None


def _names(a: Recording, b: Recording, kind: str) -> list[tuple[str, int | None]]:
    if kind == "input":
        other = {blob.name for blob in b.blobs}
        return [(blob.name, None) for blob in a.blobs if blob.name in other]  # those no data layer made have no array
    known = {(p.layer, p.index) for p in b.params}
    return [(p.layer, p.index) for p in a.params if (p.layer, p.index) in known]


def _array(recording: Recording, kind: str, iteration: int, name: str, index: int | None) -> Array | None:
    try:
        if index is None:
            return recording.input(iteration, name)
        return np.asarray(getattr(recording, kind)(iteration, name, index))
    except RecordingError:  # left out of --capture
        return None


def _first_other_key(a: Recording, b: Recording) -> KeyDifference | None:
    for iteration in np.intersect1d(a.window_iterations, b.window_iterations):
        try:
            one, two = a.keys(int(iteration)), b.keys(int(iteration))
        except RecordingError:
            return None
        pairs = enumerate(itertools.zip_longest(one, two))
        other = [(place, x, y) for place, (x, y) in pairs if x != y and b"" not in (x, y)]  # empty: not known
        if other:
            return KeyDifference(int(iteration), *other[0], count=len(other))
    return None


def _bits_differ(one: Array, two: Array) -> npt.NDArray[np.bool_]:
    """Where two arrays of floats differ: NaN equals NaN of the same bits, and 0.0 is not -0.0."""
    if one.dtype != two.dtype:
        return np.asarray(one != two)
    bits = np.dtype(f"u{one.dtype.itemsize}")
    return np.asarray(np.ascontiguousarray(one).view(bits) != np.ascontiguousarray(two).view(bits))
