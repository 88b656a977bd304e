"""The values of labels and targets in the data that a net reads: all of them, or a part where they are many."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import lmdb
import numpy as np
import numpy.typing as npt

from harness.caffe_files.formatting import printable
from harness.caffe_files.hdf5_list import HDF5Files
from harness.caffe_files.lmdb_file import Records
from harness.caffe_files.messages import pb
from harness.caffe_files.window_file import WindowFile

_MOST = 4 << 20  # values that are read of the rows of HDF5 files; of more, at most so many rows:
_ROWS = 1000
_IMAGES = 64  # images whose pixels are looked at where they are targets


@dataclass(frozen=True)
class Labels:
    """Labels or targets in a source.

    Attributes:
        field: what they are called there.
        values: those that were read (n, k), k for each record.
        name: names the record of a row of `values`.
        channels: the size of axis 1 of the blob, each with as many of the k values; 0 if it is not known.
    """

    source: Path
    field: str
    values: npt.NDArray[np.float64]
    name: Callable[[int], str]
    channels: int

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest value, NaN if there is one."""
        return float(self.values.min()), float(self.values.max())

    def first(self, chosen: npt.NDArray[np.bool_]) -> str:
        """Name the first of the chosen values."""
        row, column = np.unravel_index(int(np.argmax(chosen)), chosen.shape)
        return f"{self.name(int(row))}, {self.field} {self.values[row, column]:g}"

    def part(self, number: int, parts: int, points: Sequence[int]) -> Labels | None:
        """Return the part `number` of `parts` that a Slice layer cuts along axis 1; None if it cannot be told."""
        channels = self.channels
        bounds = [0, *points, channels] if points else list(range(0, channels + 1, max(channels // parts, 1)))
        if len(bounds) != parts + 1 or sorted(bounds) != bounds:
            return None
        width = self.values.shape[1] // channels  # values of a channel
        start, stop = bounds[number], bounds[number + 1]
        return replace(self, values=self.values[:, start * width : stop * width], channels=stop - start)


def labels_of_records(records: Records, excluded: Sequence[int]) -> Labels:
    """Return the labels of an LMDB or of a list of images, without the records `excluded`."""
    kept = np.delete(np.arange(len(records)), excluded)

    def name(row: int) -> str:
        return f"record {kept[row]:,}, key {printable(records.keys[kept[row]])}"

    return Labels(records.source, "label", records.labels[kept].astype(np.float64)[:, np.newaxis], name, channels=1)


def labels_of_rows(files: HDF5Files, dataset: str, excluded: Sequence[int]) -> Labels | None:
    """Read a dataset of HDF5 files, or rows that are evenly spread over it; None if it cannot be read.

    The rows `excluded`, numbered through all files, are left out.
    """
    counts = files.rows(dataset)
    shape = files.shapes[0][dataset][1:]
    width = int(np.prod(shape))
    total = sum(counts)
    rows = total if total * width <= _MOST else max(1, min(_ROWS, _MOST // max(width, 1)))
    chosen = np.setdiff1d(np.linspace(0, total - 1, rows).astype(np.int64), excluded)
    starts = np.cumsum([0, *counts])
    parts, names = [np.empty((0, width))], []
    try:
        for number, file in enumerate(files.names):
            own = chosen[(chosen >= starts[number]) & (chosen < starts[number + 1])] - starts[number]
            if not len(own):
                continue
            with h5py.File(file) as opened:
                values = opened[dataset]
                part = values[()] if len(own) == counts[number] else np.stack([values[int(row)] for row in own])
            parts.append(np.asarray(part, np.float64).reshape(len(own), -1))
            names += [(number, int(row)) for row in own]
    except (OSError, RuntimeError, KeyError, ValueError):  # h5py's, of damaged data: Caffe will say so
        return None

    def name(number: int) -> str:
        file, row = names[number]
        return f"row {row:,} of {files.names[file]}"

    return Labels(files.source, dataset, np.concatenate(parts), name, channels=shape[0] if shape else 1)


def labels_of_windows(windows: WindowFile, param: pb.WindowDataParameter) -> Labels:
    """Return the classes of the windows that a layer samples in front; those behind have class 0."""
    _, foreground = windows.sampled(param)

    def name(number: int) -> str:
        return f"window {foreground[number]:,}"

    return Labels(
        windows.source, "class", windows.label[foreground].astype(np.float64)[:, np.newaxis], name, channels=1
    )


def labels_of_images(layer: pb.LayerParameter, records: Records, excluded: Sequence[int]) -> Labels | None:
    """Return the extremes of the pixels of some images, as a Data layer scales them, without the records `excluded`.

    None if they are not known: in lists, with a mean of several values, or where an image cannot be decoded.
    """
    transform = layer.transform_param
    if layer.type != "Data" or transform.HasField("mean_file") or len(transform.mean_value) > 1:
        return None
    from harness.prefetch.images import decode  # here, because it loads OpenCV, and few nets need it

    kept = np.delete(np.arange(len(records)), excluded)
    numbers = np.unique(kept[np.linspace(0, len(kept) - 1, _IMAGES).astype(np.int64)]).tolist()
    extremes = []
    with lmdb.open(os.fspath(records.source), readonly=True, lock=True) as environment, environment.begin() as reading:
        for number in numbers:
            key = bytes(records.keys[number])
            try:
                pixels = decode(key, reading.get(key) or b"", transform).pixels
            except ValueError:
                return None
            extremes.append([float(pixels.min()), float(pixels.max())])
    values = (np.array(extremes) - sum(transform.mean_value)) * transform.scale

    def name(number: int) -> str:
        return f"record {numbers[number]:,}, key {printable(records.keys[numbers[number]])}"

    return Labels(records.source, "pixels", values, name, channels=0)
