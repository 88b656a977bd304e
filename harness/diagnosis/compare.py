"""Find where two runs first differ, bit for bit: in their settings, their data, or their arithmetic."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from harness.diagnosis.comparison import (
    ArrayDifference,
    ArrayKind,
    Cause,
    Comparison,
    Extent,
    KeyDifference,
    Kind,
    Part,
    ValueDifference,
)
from harness.diagnosis.settings import Setting
from harness.errors import RecordingError
from harness.recording.reader import Recording
from harness.schemas.captures import CAPTURES
from harness.schemas.rewind import NoRewind, Rewind
from harness.schemas.run_info import RunInfo
from harness.schemas.window import Window

Array = npt.NDArray[Any]  # of any of the types in a recording


def compare(a: Recording, b: Recording, info_a: RunInfo, info_b: RunInfo, settings: tuple[Setting, ...]) -> Comparison:
    """Compare two recordings. `info_a` and `info_b` are their run.json; `settings` are those that differ."""
    common, rows_a, rows_b = np.intersect1d(a.iterations, b.iterations, return_indices=True)
    weights = _first_other_weights(a, b, info_a, info_b)
    values = _value_differences(a, b, common, rows_a, rows_b)
    moment = _moment(common, weights, values)
    parts, arrays = _parts(a, b, moment) if moment is not None else ((), [])
    if weights is not None:
        _, largest = _compare_arrays(a, b, "weight", weights)
        arrays += [largest] if largest is not None else []
    unseen = moment is not None and not any(p.source == "window" and p.same is not None for p in parts)
    return Comparison(
        a=_extent(a.iterations),
        b=_extent(b.iterations),
        common=_extent(common),
        digest_kinds=(info_a.digest_kind, info_b.digest_kind),
        weights=weights,
        moment=moment,
        cause=_cause(weights, moment, parts),
        parts=parts,
        arrays=tuple(arrays),
        key=_first_other_key(a, b),
        values=values,
        settings=settings,
        verified=(info_a.verified, info_b.verified),
        rewinds=(_rewind(a, moment), _rewind(b, moment)) if unseen and moment is not None else (None, None),
    )


def _rewind(recording: Recording, moment: int) -> Rewind | NoRewind | None:
    """Tell how to record the iteration `moment` and the weights that result from it, unless a window has them."""
    if set(CAPTURES) <= set(recording.window_arrays(moment)):
        return None
    return recording.rewind_cost(Window(moment, min(moment + 2, int(recording.iterations[-1]) + 1)))


# -- the iteration ---------------------------------------------------------------------------------------------------


def _extent(iterations: Array) -> Extent | None:
    return Extent(int(iterations[0]), int(iterations[-1]), len(iterations)) if len(iterations) else None


def _first_other_weights(a: Recording, b: Recording, info_a: RunInfo, info_b: RunInfo) -> int | None:
    if info_a.digest_kind != info_b.digest_kind:
        return _first_other_norms(a, b)
    times_a, digests_a = _digests(a, info_a)
    times_b, digests_b = _digests(b, info_b)
    common, rows_a, rows_b = np.intersect1d(times_a, times_b, return_indices=True)
    other = np.flatnonzero(digests_a[rows_a] != digests_b[rows_b])
    return int(common[other[0]]) if len(other) else None


def _first_other_norms(a: Recording, b: Recording) -> int | None:
    """Return the first t for which a norm or the largest magnitude of a param blob differs in W_t."""
    common, rows_a, rows_b = np.intersect1d(a.iterations, b.iterations, return_indices=True)
    other = np.zeros(len(common), np.bool_)
    for name in ("weight_l2", "weight_max"):
        one, two = a.stat(name).values, b.stat(name).values
        if one.shape[1:] == two.shape[1:]:
            other |= _bits_differ(one[rows_a], two[rows_b]).any(axis=1)
        else:
            other[:] = True
    return int(common[other][0]) if other.any() else None


def _digests(recording: Recording, info: RunInfo) -> tuple[Array, Array]:
    """Return the digests of W_t, and also that of the final weights where the run ended in order."""
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
    """Return the first difference of each series that both have: loss, lr, and every output of the train net."""
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
    """Return the first iteration in which something differs although its weights are the same."""
    times = [v.iteration for v in values] + ([weights - 1] if weights is not None else [])
    moment = min(times, default=None)
    return moment if moment is not None and moment in common and (weights is None or moment < weights) else None


# -- its parts -------------------------------------------------------------------------------------------------------


def _parts(a: Recording, b: Recording, moment: int) -> tuple[tuple[Part, ...], list[ArrayDifference]]:
    """Compare the parts of an iteration. Returns also the largest difference of each kind of array."""
    row_a, row_b = (int(np.flatnonzero(r.iterations == moment)[0]) for r in (a, b))
    arrays: list[ArrayDifference] = []

    def series(kind: Kind) -> Part:
        one, two = a.series(kind)[row_a : row_a + 1], b.series(kind)[row_b : row_b + 1]
        return Part(kind, not _bits_differ(one, two).any(), "series")

    def array(kind: Literal["input", "gradient", "update"], *stats: str) -> Part:
        compared, largest = _compare_arrays(a, b, kind, moment)
        if largest is not None:
            arrays.append(largest)
        if compared or not stats:
            return Part(kind, largest is None if compared else None, "window")
        norms = [(a.stat(s).values[row_a], b.stat(s).values[row_b]) for s in stats]
        same = all(x.shape == y.shape and not _bits_differ(x, y).any() for x, y in norms)
        return Part(kind, same, "norms")

    parts = (
        array("input"),
        series("loss"),
        array("gradient", "gradient_l2", "gradient_max"),
        series("lr"),
        array("update", "update_l2"),
    )
    return parts, arrays


def _cause(weights: int | None, moment: int | None, parts: tuple[Part, ...]) -> Cause | None:
    if moment is None:
        return None if weights is None else "start"
    first = next((part.kind for part in parts if part.same is False), None)
    if first == "loss":
        return "forward" if parts[0].same else "data or forward"
    causes: dict[Kind | None, Cause] = {"input": "data", "gradient": "backward", "lr": "rate", "update": "update"}
    return causes.get(first, "unknown")


def _compare_arrays(a: Recording, b: Recording, kind: ArrayKind, iteration: int) -> tuple[int, ArrayDifference | None]:
    """Compare the arrays of a kind in an iteration.

    Returns the number of arrays that both recordings have, and the largest difference (None: they are the same).
    """
    if iteration not in a.window_iterations or iteration not in b.window_iterations:
        return 0, None
    compared, found = 0, []
    for name, index in _names(a, b, kind):
        one, two = _array(a, kind, iteration, name, index), _array(b, kind, iteration, name, index)
        if one is None or two is None or one.shape != two.shape:
            continue
        compared += 1
        label = name if index is None else f"{name}/{index}"
        difference = _difference(one, two, kind, iteration, label)
        found += [difference] if difference is not None else []
    if not found:
        return compared, None
    largest = max(found, key=lambda difference: difference.largest)  # the first of equal ones
    return compared, replace(largest, blobs=len(found), compared=compared)


def _difference(one: Array, two: Array, kind: ArrayKind, iteration: int, label: str) -> ArrayDifference | None:
    """Return the largest difference between two arrays; None if they have the same bits."""
    other = _bits_differ(one, two)
    if not other.any():
        return None
    with np.errstate(invalid="ignore"):
        distance = np.abs(one.astype(np.float64) - two.astype(np.float64))
    distance = np.where(other, np.where(np.isnan(distance), np.inf, distance), -1.0)
    place = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return ArrayDifference(
        kind=kind,
        iteration=iteration,
        label=label,
        index=tuple(map(int, place)),
        a=float(one[place]),
        b=float(two[place]),
        largest=float(distance[place]),
        elements=int(other.sum()),
        size=one.size,
        blobs=1,
        compared=1,
    )


def _names(a: Recording, b: Recording, kind: str) -> list[tuple[str, int | None]]:
    if kind == "input":
        other = {blob.name for blob in b.blobs}
        return [(blob.name, None) for blob in a.blobs if blob.name in other]  # only those of data layers have arrays
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
        other = [(place, x, y) for place, (x, y) in pairs if x != y and b"" not in (x, y)]  # an empty one is not known
        if other:
            return KeyDifference(int(iteration), *other[0], count=len(other))
    return None


def _bits_differ(one: Array, two: Array) -> npt.NDArray[np.bool_]:
    """Compare two arrays of floats bit by bit: a NaN equals one with the same bits, and 0.0 does not equal -0.0."""
    if one.dtype != two.dtype:
        return np.asarray(one != two)
    bits = np.dtype(f"u{one.dtype.itemsize}")
    return np.asarray(np.ascontiguousarray(one).view(bits) != np.ascontiguousarray(two).view(bits))
