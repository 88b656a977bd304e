"""The order in which a layer reads the records of its source, epoch after epoch."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.caffe_files.transformer_rng import mt19937


class Epochs:
    """The order of `count` lines: as written, or shuffled with `seed` before the first epoch and after each.

    The lines that are `excluded` are left out of the order of all of them: another one follows in their place, and an
    epoch has as many lines less.

    A line's number counts from 0; a position counts the lines read since the first one of epoch 0. Positions can be
    looked up only in ascending order, because each epoch is shuffled from the one before
    (ImageDataLayer::ShuffleImages).
    """

    def __init__(self, count: int, seed: int | None, excluded: Sequence[int] = ()) -> None:
        self._order = np.arange(count, dtype=np.int32)
        self._kept = np.ones(count, bool)
        self._kept[list(excluded)] = False
        self._reading = self._order[self._kept]
        self._epoch = 0
        self._seed = seed
        if seed is not None:
            self._function = ctypes.CDLL(str(Path(__file__).with_name("_shuffle.so"))).shuffle
            self._generator = mt19937(seed, 0)
            self._shuffle()

    @property
    def size(self) -> int:
        """How many lines an epoch has."""
        return len(self._reading)

    def lines_from(self, position: int) -> Iterator[int]:
        """Yield the numbers of the lines from `position` on, endlessly."""
        while True:
            for line in self._at(position // self.size)[position % self.size :].tolist():
                yield line
                position += 1

    def lines(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Return the numbers of the lines at ascending `positions`."""
        epochs, within = np.divmod(positions, self.size)
        found = np.empty(positions.shape, np.int32)
        for epoch in np.unique(epochs):
            found[epochs == epoch] = self._at(int(epoch))[within[epochs == epoch]]
        return found

    def position_without(self, position: int, excluded: Sequence[int]) -> int:
        """Return `position` in the order in which `excluded` are left out besides: how many lines are before it."""
        epoch, within = divmod(position, self.size)
        kept = ~np.isin(self._at(epoch), excluded)
        return epoch * int(kept.sum()) + int(kept[:within].sum())

    def _at(self, epoch: int) -> npt.NDArray[np.int32]:
        """Return the order of `epoch`; valid until the next call."""
        assert epoch >= self._epoch or self._seed is None
        while self._seed is not None and self._epoch < epoch:
            self._shuffle()
            self._epoch += 1
        return self._reading

    def _shuffle(self) -> None:
        random = self._generator.ctypes
        self._function(
            self._order.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(len(self._order)),
            random.next_uint32,
            random.state,
        )
        self._reading = self._order[self._kept[self._order]]
