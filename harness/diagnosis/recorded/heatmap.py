"""Compute heat maps of layers × time: one number of every layer, to see where a change starts and how it travels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.diagnosis.recorded.baseline import BLOB_ROWS, MIN_ROWS, PARAM_ROWS
from harness.diagnosis.recorded.thinning import largest, shares
from harness.diagnosis.robust_stats import LEAST_SPREAD, Floats, Ints, distance, logarithm, total_norm
from harness.recording.readable import Readable

Quantity = Literal["gradient", "weight", "ratio", "zeros"]
QUANTITIES: tuple[Quantity, ...] = ("gradient", "weight", "ratio", "zeros")
_LEAST_SPREAD_OF_WEIGHTS = 0.005  # in logarithms: a weight's norm moves that little in many iterations
_LEAST_SPREAD_OF_ZEROS = 0.02  # of all elements
_CHUNK = 4096  # iterations read at a time


@dataclass(frozen=True)
class Heatmap:
    """`values[r, c]` is the largest value of `rows[r]` in the iterations start[c] … stop[c] - 1.

    The quantities are the l2 norms of a layer's raw gradient and of its weights (all its param blobs together),
    ‖update‖ / ‖weight‖ (rows: layers that learn, in update order), and the share of zeros in a net blob (rows: blobs in
    forward order). NaN: not taken then; infinite: not finite. `distance` is in standard deviations from the row's own
    baseline, NaN where there is none.
    """

    quantity: Quantity
    rows: tuple[str, ...]
    start: Ints  # (C,)
    stop: Ints  # (C,)
    values: Floats  # (R, C)
    distance: Floats  # (R, C)


def heatmap(recording: Readable, quantity: Quantity, rows: slice, onset: int | None, columns: int) -> Heatmap:
    """Compute the heat map of `quantity` over the recorded `rows`, in at most `columns` columns.

    The baseline is made of the iterations before `onset`, or where there is none, of the last of the run.
    """
    iterations = recording.iterations
    end = len(iterations) if onset is None else int(np.searchsorted(iterations, onset))
    first, stop, _ = rows.indices(len(iterations))
    starts = first + shares(stop - first, columns)
    stops = np.append(starts[1:], stop) if len(starts) else starts
    begin, end_of = iterations[starts], iterations[stops - 1] + 1
    if quantity == "zeros":
        before = int(iterations[end - 1]) if end else -1
        labels, baseline, values = _zeros(recording, begin, end_of, before)
        far = _distance(baseline, values, _LEAST_SPREAD_OF_ZEROS)
    else:
        layers = layers_of(recording)
        labels = tuple(layers)
        baseline = _norms(recording, quantity, slice(max(0, end - PARAM_ROWS), end), layers)
        values = _largest_norms(recording, quantity, starts, stops, layers)
        least = _LEAST_SPREAD_OF_WEIGHTS if quantity == "weight" else LEAST_SPREAD
        far = _distance(logarithm(baseline), logarithm(values), least)
    return Heatmap(quantity, labels, begin, end_of, values.T, far.T)


def without_values_after(drawn: Heatmap, first: int | None) -> Heatmap:
    """Leave out what is finite from the iteration `first` on (None: nothing): after a NaN it means nothing."""
    if first is None:
        return drawn
    after = drawn.start >= first
    values = np.where(after & np.isfinite(drawn.values), np.nan, drawn.values)
    return replace(drawn, values=values, distance=np.where(after, np.nan, drawn.distance))


def layers_of(recording: Readable) -> dict[str, tuple[int, ...]]:
    """Return the layers that learn, in update order, and the columns of their param blobs."""
    groups = groupby(enumerate(recording.params), key=lambda pair: pair[1].layer)
    return {layer: tuple(column for column, _ in group) for layer, group in groups}


def _largest_norms(
    recording: Readable,
    quantity: Quantity,
    starts: npt.NDArray[np.intp],
    stops: npt.NDArray[np.intp],
    layers: dict[str, tuple[int, ...]],
) -> Floats:
    """Return (C, L) the largest norm of each layer in each column, without reading a long run as a whole."""
    found = [np.empty((0, len(layers)))]
    first = 0
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(stops, starts[first] + _CHUNK, side="right")))
        part = _norms(recording, quantity, slice(int(starts[first]), int(stops[last - 1])), layers)
        found.append(largest(part, starts[first:last] - starts[first]))
        first = last
    return np.concatenate(found)


def _norms(recording: Readable, quantity: Quantity, rows: slice, layers: dict[str, tuple[int, ...]]) -> Floats:
    """Return (n, L) the norm of each layer in the iterations `rows`."""

    def of(stat: str) -> Floats:
        values = recording.stat(stat, rows).values
        return np.stack([total_norm(values[:, list(columns)]) for columns in layers.values()], axis=1)

    if not layers:
        return np.empty((len(recording.series("iteration", rows)), 0))
    if quantity != "ratio":
        return of(f"{quantity}_l2")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(of("update_l2") / of("weight_l2"), nan=0.0, posinf=np.inf)  # 0 / 0: nothing moved


def _zeros(recording: Readable, begin: Ints, end: Ints, before: int) -> tuple[tuple[str, ...], Floats, Floats]:
    """Return the blobs, (n, A) their shares up to the iteration `before`, and (C, A) the largest in each column.

    NaN where none was taken.
    """
    taken = recording.activation("zero_fraction")
    values = np.full((len(begin), len(taken.labels)), np.nan)
    column = np.searchsorted(begin, taken.iterations, side="right") - 1
    inside = (column >= 0) & (taken.iterations < end[-1:].max(initial=0))
    np.fmax.at(values, column[inside], taken.values[inside])
    return taken.labels, taken.values[taken.iterations <= before][-BLOB_ROWS:], values


def _distance(baseline: Floats, values: Floats, least: float) -> Floats:
    baseline = baseline[np.isfinite(baseline).all(axis=1)]
    if len(baseline) < MIN_ROWS:
        return np.full(values.shape, np.nan)
    return distance(baseline, values, least)
