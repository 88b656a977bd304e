"""The order in which an ImageData layer reads the lines of its list, epoch after epoch."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.caffe_files.transformer_rng import mt19937


class Epochs:
    """The order of `count` lines: as written, or shuffled with `seed` before the first epoch and after each.

    A line's number counts from 0; a position counts the lines read since the first one of epoch 0. Positions can be
    looked up only in ascending order, because each epoch is shuffled from the one before
    (ImageDataLayer::ShuffleImages).
    """

    def __init__(self, count: int, seed: int | None) -> None:
        self._order = np.arange(count, dtype=np.int32)
        self._epoch = 0
        self._seed = seed
        if seed is not None:
            self._function = ctypes.CDLL(str(Path(__file__).with_name("_shuffle.so"))).shuffle
            self._generator = mt19937(seed, 0)
            self._shuffle()

    def lines_from(self, position: int) -> Iterator[int]:
        """Yield the numbers of the lines from `position` on, endlessly."""
        count = len(self._order)
        while True:
            for line in self._at(position // count)[position % count :].tolist():
                yield line
                position += 1

    def lines(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Return the numbers of the lines at ascending `positions`."""
        epochs, within = np.divmod(positions, len(self._order))
        found = np.empty(positions.shape, np.int32)
        for epoch in np.unique(epochs):
            found[epochs == epoch] = self._at(int(epoch))[within[epochs == epoch]]
        return found

    def _at(self, epoch: int) -> npt.NDArray[np.int32]:
        """Return the order of `epoch`; valid until the next call."""
        assert epoch >= self._epoch or self._seed is None
        while self._seed is not None and self._epoch < epoch:
            self._shuffle()
            self._epoch += 1
        return self._order

    def _shuffle(self) -> None:
        random = self._generator.ctypes
        self._function(
            self._order.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(len(self._order)),
            random.next_uint32,
            random.state,
        )
