"""The Caffe layer that replaces an HDF5Data layer: same tops, same rows, from any row on.

Caffe imports this module by its name when it builds a net that `replace_data_layers` (seekable_nets.py) returned.
"""

from __future__ import annotations

from collections.abc import Sequence

import caffe
import h5py
import numpy as np

from harness.prefetch.libc_random import LibcRandom
from harness.prefetch.row_order import RowReader
from harness.schemas.stream import RowsStream
from harness.worker.pycaffe import Blob, Floats, Top

_random = LibcRandom()


def restore_random(state: str | None) -> None:
    """Put the generator that all layers with `shuffle` share into `state`; call it before the nets are built."""
    global _random
    _random = LibcRandom(state)


class SeekableRows(caffe.Layer):  # type: ignore[misc]  # caffe carries no types
    """Data layer whose tops (batch, …) are rows of the datasets of the same names; `param_str`: JSON of a RowsStream.

    Like Caffe's own layer (hdf5_data_layer.cpp), it holds one file in memory and reads the next one when it needs it.
    """

    def setup(self, bottom: Sequence[Blob], top: Sequence[Top]) -> None:
        self.stream = stream = RowsStream.from_json(self.param_str)
        place = stream.position
        random = _random if place.shuffle else None
        self.reader = RowReader(place.counts, random, place.order, place.records, place.excluded)
        self.loaded, self.datasets = -1, tuple[Floats, ...]()
        self.until_gap, self.gap = place.skip_at, place.skip * place.batch_size  # batches, rows
        self._pass_gap()
        self._load(self.reader.file)
        for number, dataset in enumerate(self.datasets):
            top[number].reshape(place.batch_size, *dataset.shape[1:])

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Top]) -> None:
        """Do nothing: all batches have one shape."""

    def forward(self, bottom: Sequence[Blob], top: Sequence[Top]) -> None:
        tops = [top[number].data for number in range(len(top))]
        done = 0
        for file, rows in self.reader.read(self.stream.position.batch_size):
            self._load(file)
            for values, dataset in zip(tops, self.datasets, strict=True):
                np.take(dataset, rows, axis=0, out=values[done : done + len(rows)], mode="clip")  # which copies once
            done += len(rows)
        self.until_gap -= 1
        self._pass_gap()

    def backward(self, top: Sequence[Top], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        """Do nothing: there is no bottom."""

    def _pass_gap(self) -> None:
        if self.gap and self.until_gap <= 0:
            self.reader.skip(self.gap)
            self.gap = 0

    def _load(self, file: int) -> None:
        """Read the datasets of `file` as float32, converted by HDF5 as for Caffe (hdf5_load_nd_dataset, hdf5.cpp)."""
        if file == self.loaded:
            return
        self.datasets = ()  # released before the next ones are read
        name = self.stream.files[file]
        try:
            with h5py.File(name) as opened:
                self.datasets = tuple(_floats(opened[top]) for top in self.stream.tops)
        except (OSError, KeyError) as error:
            raise RuntimeError(f"layer {self.stream.position.layer}: {name} cannot be read ({error})") from None
        self.loaded = file


def _floats(dataset: h5py.Dataset) -> Floats:
    values = np.empty(dataset.shape, np.float32)
    dataset.read_direct(values)
    return values
