"""Examine the inputs of one iteration: outliers, labels, and the records with the largest loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.diagnosis.robust_stats import SIGMA, Bools, Floats
from harness.recording import Recording, RecordingError
from harness.schemas.predictions import Predictions

_OUTLIER = 6.0  # standard deviations of the range of the other records


@dataclass(frozen=True)
class Batch:
    """The inputs of one iteration: n records, with iter_size > 1 those of all passes.

    Attributes:
        keys: empty where they were not recorded.
        lowest, highest: extreme values of each record.
        outliers: whether the values of a record reach far beyond those of the others.
        pixels: (n, channels, height, width) as the net saw them: cropped, mirrored, scaled, mean subtracted; None where
            the inputs are no images.
    """

    iteration: int
    blob: str
    keys: tuple[str, ...]
    labels: npt.NDArray[np.int64] | None  # (n,)
    lowest: Floats  # (n,)
    highest: Floats  # (n,)
    outliers: Bools  # (n,)
    pixels: npt.NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.lowest)


@dataclass(frozen=True)
class LabelShare:
    """Count of a label in a batch, and the count expected by its share of the data set (None: not known)."""

    label: int
    count: int
    expected: float | None


def batch_of(recording: Recording, iteration: int) -> Batch | None:
    """Return the captured inputs of `iteration`; None where they were not captured, or are no batch."""
    inputs = {}
    for blob in recording.blobs:
        try:
            inputs[blob.name] = _one_pass(recording.input(iteration, blob.name), blob.shape)
        except RecordingError:
            continue
    images = next((name for name, values in inputs.items() if values.ndim > 1 and values[0].size > 1), None)
    if images is None:
        return None
    values = inputs[images]
    count = len(values)
    labels = next((v.reshape(-1) for n, v in inputs.items() if n != images and v.size == count and _whole(v)), None)
    flat = values.reshape(count, -1).astype(np.float64)
    lowest, highest = flat.min(axis=1), flat.max(axis=1)
    try:
        keys = tuple(key.decode(errors="replace") for key in recording.keys(iteration))
    except RecordingError:
        keys = ()
    return Batch(
        iteration=iteration,
        blob=images,
        keys=keys if len(keys) == count else (),
        labels=None if labels is None else labels.astype(np.int64),
        lowest=lowest,
        highest=highest,
        outliers=_outliers(np.maximum(np.abs(lowest), np.abs(highest))),
        pixels=values if values.ndim == 4 and min(values.shape[2:]) > 1 else None,
    )


def shown_range(batch: Batch, image: int) -> tuple[float, float]:
    """Return the values to show as black and as white: of the ordinary images, or of an outlier itself."""
    chosen = np.arange(len(batch)) == image if batch.outliers[image] else ~batch.outliers
    low, high = batch.lowest[chosen], batch.highest[chosen]
    low, high = low[np.isfinite(low)], high[np.isfinite(high)]
    if not len(low) or not len(high):
        return 0.0, 1.0
    return float(low.min()), max(float(high.max()), float(low.min()) + 1e-12)


def worst_first(batch: Batch, predictions: Predictions | None) -> list[int]:
    """Sort the images by their loss, ties (Caffe caps losses) by the probability of the label.

    Without predictions the outliers with the largest values come first.
    """
    if predictions is None:
        return [int(i) for i in np.lexsort((-batch.highest, ~batch.outliers))]
    loss, probability = np.nan_to_num(predictions.loss, nan=-1.0), np.nan_to_num(predictions.label_probability)
    return [int(i) for i in np.lexsort((probability, -loss))]


def label_shares(labels: npt.NDArray[np.int64], all_labels: npt.NDArray[np.int32] | None) -> tuple[LabelShare, ...]:
    """Count the labels of a batch, most frequent first, and compare with the data set.

    Labels that are missing are included if at least one image was to be expected.
    """
    values, counts = np.unique(labels, return_counts=True)
    if all_labels is None or not len(all_labels):
        found = [LabelShare(int(value), int(count), None) for value, count in zip(values, counts, strict=True)]
    else:
        known, often = np.unique(all_labels, return_counts=True)
        expected = dict(zip(known.tolist(), (often * (len(labels) / len(all_labels))).tolist(), strict=True))
        there = dict(zip(values.tolist(), counts.tolist(), strict=True))
        shown = there | {label: 0 for label, much in expected.items() if much >= 1 and label not in there}
        found = [LabelShare(label, count, expected.get(label, 0.0)) for label, count in shown.items()]
    return tuple(sorted(found, key=lambda share: -share.count))


def _one_pass(values: npt.NDArray[np.float32], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Merge the first two axes of an input with iter_size > 1: (iter_size, n, …) becomes (iter_size × n, …)."""
    if values.ndim == len(shape) + 1 and values.ndim > 1:
        return values.reshape(-1, *values.shape[2:])
    return values


def _whole(values: npt.NDArray[np.float32]) -> bool:
    """Check whether all values are whole numbers, as labels are."""
    return bool(np.all(np.isfinite(values)) and np.all(values == np.round(values)))


def _outliers(size: Floats) -> Bools:
    """Check which largest magnitudes are not finite, or far above those of the other records and twice their median."""
    finite = np.where(np.isfinite(size), size, np.inf)
    known = size[np.isfinite(size)]
    if not len(known):
        return np.ones(len(size), bool)
    # most of a batch may be outliers: the lower half is taken to be ordinary
    lower = np.sort(known)[: max(1, len(known) // 2)]
    centre = float(np.median(lower))
    spread = SIGMA * float(np.median(np.abs(lower - centre)))
    return np.asarray(finite > max(2 * centre, centre + _OUTLIER * spread))
