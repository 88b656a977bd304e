"""Examine the inputs of one iteration: outliers, labels, and the records with the largest loss.

They come from a window of the recording or, where no window holds them, from the data set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.diagnosis.recorded.outliers import far_beyond, outlying, times_ordinary
from harness.diagnosis.robust_stats import Bools, Floats
from harness.errors import BadInput
from harness.recording import Recording, RecordingError
from harness.schemas.predictions import Predictions
from harness.training_data.confirm import confirmed_records
from harness.training_data.read import class_names_of
from harness.training_data.records import IterationRecords, LayerRecords, Record

Source = Literal["window", "data set"]

_BEFORE = 1000  # iterations before, whose inputs are compared


@dataclass(frozen=True)
class Batch:
    """The inputs of one iteration: n records, with iter_size > 1 those of all passes.

    Attributes:
        source: where they were read: in a window of the recording, or again from the data set.
        keys: empty where they are not known.
        names: the name of each record's class; empty where there is no list of them beside the data.
        lowest, highest: extreme values of each record.
        outliers: whether the values of a record reach far beyond those of the others, or of the batches before.
        times: how many times the largest magnitude of the ordinary records (without any, of the batches before) that of
            each record is; inf where it is not finite.
        records: what the data layer did with each record; empty for those of a window.
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
    times: Floats  # (n,)
    source: Source = "window"
    names: tuple[str | None, ...] = ()
    records: tuple[Record, ...] = ()

    def __len__(self) -> int:
        return len(self.lowest)

    @property
    def is_finite(self) -> Bools:
        """(n,) whether all values of a record are finite."""
        return np.isfinite(self.lowest) & np.isfinite(self.highest)

    @property
    def worst(self) -> list[int]:
        """The outliers, those with the largest values first."""
        return [image for image in worst_first(self, None) if self.outliers[image]]

    def describe(self, image: int) -> str:
        """Describe a record in a few words: key, label, class, and how far its values reach."""
        parts = [self.keys[image] if self.keys else f"record {image + 1} of {len(self)}"]
        if self.labels is not None:
            name = self.names[image] if self.names else None
            parts.append(f"label {self.labels[image]}" + (f" ({name})" if name else ""))
        if self.outliers[image]:
            parts.append(f"×{self.times[image]:.3g}" if np.isfinite(self.times[image]) else "not finite")
        return ", ".join(parts)


def batch_of(recording: Recording, iteration: int) -> Batch | None:
    """Return the inputs of `iteration`; None where they are not known, or are no batch."""
    found = batch_or_reason(recording, iteration)
    return None if isinstance(found, str) else found


def batch_or_reason(recording: Recording, iteration: int) -> Batch | str:
    """Return the inputs of `iteration`, from a window or else from the data set, or why they are not known."""
    recorded = _of_window(recording, iteration)
    if recorded is not None:
        return recorded
    try:
        found = confirmed_records(recording, iteration)
    except (BadInput, RecordingError) as error:
        return str(error)
    layer = next((layer for layer in found.layers if _is_batch(layer)), None)
    if layer is None:
        return " ".join(["The data layers fill no blob with a batch of one shape.", *found.unknown])
    return _of_data_set(recording, found, layer)


def _of_window(recording: Recording, iteration: int) -> Batch | None:
    inputs = {}
    for blob in recording.blobs:
        try:
            inputs[blob.name] = _one_pass(recording.input(iteration, blob.name), blob.shape)
        except RecordingError:
            continue
    images = next((name for name, values in inputs.items() if values.ndim > 1 and values[0].size > 1), None)
    if images is None:
        return None
    count = len(inputs[images])
    try:
        keys = tuple(key.decode(errors="replace") for key in recording.keys(iteration))
    except RecordingError:
        keys = ()
    if len(keys) != count or not all(keys):  # only of the first Data layer, and only where it gives labels as well
        keys = _keys_of_data_set(recording, iteration, images)
    labels = _labels(inputs, images)
    return _batch(
        recording,
        iteration,
        images,
        inputs[images],
        labels,
        keys=keys,
        names=() if labels is None else _names(recording, labels),
    )


def _keys_of_data_set(recording: Recording, iteration: int, images: str) -> tuple[str, ...]:
    """Return the keys of records in the data set whose values are those in the window; empty where there are none."""
    try:
        found = confirmed_records(recording, iteration)
    except (BadInput, RecordingError):
        return ()
    layer = next((layer for layer in found.layers if images in layer.inputs), None)
    return () if layer is None else tuple(record.key for record in layer.records)


def _of_data_set(recording: Recording, found: IterationRecords, layer: LayerRecords) -> Batch:
    blob, values = next(iter(layer.inputs.items()))
    known = [record.label for record in layer.records if record.label is not None]
    labels = np.array(known, np.int64) if len(known) == len(values) else _labels(found.inputs, blob)
    names = tuple(record.class_name for record in layer.records)
    return _batch(
        recording,
        found.iteration,
        blob,
        values,
        labels,
        keys=tuple(record.key for record in layer.records),
        names=names if any(name is not None for name in names) else (),
        source="data set",
        records=layer.records,
    )


def _batch(
    recording: Recording,
    iteration: int,
    blob: str,
    values: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64] | None,
    *,
    keys: tuple[str, ...],
    names: tuple[str | None, ...],
    source: Source = "window",
    records: tuple[Record, ...] = (),
) -> Batch:
    flat = values.reshape(len(values), -1).astype(np.float64)
    lowest, highest = flat.min(axis=1), flat.max(axis=1)
    size = np.maximum(np.abs(lowest), np.abs(highest))
    before = _sizes_before(recording, blob, iteration)
    outliers = outlying(size) | far_beyond(size, before)
    return Batch(
        iteration=iteration,
        blob=blob,
        keys=keys,
        labels=labels,
        lowest=lowest,
        highest=highest,
        outliers=outliers,
        pixels=values if values.ndim == 4 and min(values.shape[2:]) > 1 else None,
        times=times_ordinary(size, outliers, before),
        source=source,
        names=names,
        records=records,
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
    """Sort the records: outliers first, those with the largest values before the others; then the rest by their loss.

    Ties of the loss, which Caffe caps, are sorted by the probability of the label. Without predictions all are sorted
    by their values.
    """
    times = np.nan_to_num(batch.times, nan=np.inf, posinf=np.finfo(np.float64).max)
    if predictions is None:
        return [int(i) for i in np.lexsort((-times, ~batch.outliers))]
    loss, probability = np.nan_to_num(predictions.loss, nan=-1.0), np.nan_to_num(predictions.label_probability)
    return [int(i) for i in np.lexsort((probability, -loss, -np.where(batch.outliers, times, 0.0), ~batch.outliers))]


def _one_pass(values: npt.NDArray[np.float32], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Merge the first two axes of an input with iter_size > 1: (iter_size, n, …) becomes (iter_size × n, …)."""
    if values.ndim == len(shape) + 1 and values.ndim > 1:
        return values.reshape(-1, *values.shape[2:])
    return values


def _is_batch(layer: LayerRecords) -> bool:
    values = next(iter(layer.inputs.values()), None)
    return values is not None and values.ndim > 1 and values[0].size > 1


def _labels(inputs: Mapping[str, npt.NDArray[np.float32]], images: str) -> npt.NDArray[np.int64] | None:
    """Return the first blob besides `images` that has one whole number for each record, as labels are."""
    count = len(inputs[images])
    found = (v.reshape(-1) for name, v in inputs.items() if name != images and v.size == count and _whole(v))
    values = next(found, None)
    return None if values is None else values.astype(np.int64)


def _whole(values: npt.NDArray[np.float32]) -> bool:
    """Check whether all values are whole numbers, as labels are."""
    return bool(np.all(np.isfinite(values)) and np.all(values == np.round(values)))


def _names(recording: Recording, labels: npt.NDArray[np.int64]) -> tuple[str | None, ...]:
    names = class_names_of(recording.path.parent)
    return () if names is None else tuple(names[int(label)] for label in labels)


def _sizes_before(recording: Recording, blob: str, iteration: int) -> Floats:
    """Return the largest magnitudes of the blob in up to 1,000 iterations before; empty where they are not recorded."""
    row = int(np.searchsorted(recording.iterations, iteration))
    rows = slice(max(0, row - _BEFORE), row)
    try:
        low, high = recording.input_stat("minimum", rows), recording.input_stat("maximum", rows)
    except RecordingError:  # damaged
        return np.empty(0)
    if blob not in low.labels:
        return np.empty(0)
    column = low.labels.index(blob)
    size = np.maximum(np.abs(low.values[:, column]), np.abs(high.values[:, column]))
    return np.asarray(size[np.isfinite(size)])
