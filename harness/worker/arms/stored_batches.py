"""The Caffe layer that replaces a data layer in an arm: same tops, with batches of a batch store.

Caffe imports this module by its name when it builds a net that `replace_data_layers` (seekable_nets.py) returned.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence

import caffe
import numpy as np

from harness.schemas.feed import Feed, StoredBatch, StoredLayer
from harness.worker.pycaffe import Blob, Floats, Top

_FLOAT = 4  # bytes


class StoreReader:
    """Reads the batch store that is the open file `fd`. It only grows, so it is mapped again where it has grown."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._map: mmap.mmap | None = None

    def tops(self, batch: StoredBatch) -> Iterator[Floats]:
        """Yield the tops of a batch as it was stored; they cannot be written."""
        offset = batch.offset
        for shape in batch.shapes:
            count = int(np.prod(shape, dtype=np.int64))
            yield self.numbers(offset, count).reshape(shape)
            offset += _FLOAT * count

    def numbers(self, offset: int, count: int) -> Floats:
        """Return `count` numbers from byte `offset` on."""
        if self._map is None or offset + _FLOAT * count > len(self._map):
            self._map = mmap.mmap(self._fd, os.fstat(self._fd).st_size, prot=mmap.PROT_READ)
        return np.frombuffer(self._map, np.float32, count, offset)


class Feeder:
    """What the data layers give next: the batches of the feed that was `set` last."""

    def __init__(self) -> None:
        self._store: StoreReader | None = None
        self._batches: dict[int, tuple[StoredBatch, ...]] = {}
        self._next: dict[int, int] = {}

    def set(self, feed: Feed, store: StoreReader) -> None:
        """Begin with the first batches of `feed`, which lie in `store`."""
        self._store = store
        self._batches = {layer.index: layer.batches for layer in feed}
        self._next = dict.fromkeys(self._batches, 0)

    def shapes(self, index: int) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of the tops that layer `index` gives next."""
        return self._batches[index][self._next[index]].shapes

    def fill(self, index: int, top: Sequence[Top]) -> None:
        """Fill the tops of layer `index` with its next batch."""
        assert self._store is not None
        batch = self._batches[index][self._next[index]]
        self._next[index] += 1
        tops = [top[number] for number in range(len(batch.shapes))]
        for blob, values in zip(tops, self._store.tops(batch), strict=True):
            if tuple(blob.shape) != values.shape:
                blob.reshape(*values.shape)
            np.copyto(blob.data, values)
        for record in batch.replaced:
            offset = record.offset
            for blob in tops:
                part = blob.data[record.position : record.position + 1]
                np.copyto(part, self._store.numbers(offset, part.size).reshape(part.shape))
                offset += _FLOAT * part.size


FEEDER = Feeder()  # Caffe makes the layers, which find it here


class StoredBatches(caffe.Layer):  # type: ignore[misc]  # caffe carries no types
    """Data layer with the tops (batch, …) that the feeder has for it; `param_str` is the JSON of a StoredLayer."""

    def setup(self, bottom: Sequence[Blob], top: Sequence[Top]) -> None:
        self.index = StoredLayer.from_json(self.param_str).index
        for number, shape in enumerate(FEEDER.shapes(self.index)):
            top[number].reshape(*shape)

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Top]) -> None:
        """Do nothing: called before every forward pass, when the next batch is not known yet."""

    def forward(self, bottom: Sequence[Blob], top: Sequence[Top]) -> None:
        FEEDER.fill(self.index, top)

    def backward(self, top: Sequence[Top], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        """Do nothing: there is no bottom."""
