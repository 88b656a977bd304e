"""Datasets that grow by rows, written through HDF5's own functions: h5py's indexing takes five times as long."""

from __future__ import annotations

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5s, h5t


class GrowingDataset:
    """A dataset that only this object changes, and that grows along its first axis.

    Attributes:
        dtype: type of its elements.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self._id = dataset.id
        self._length, *self._shape = dataset.shape
        self.dtype = dataset.dtype
        self._type = h5t.py_create(self.dtype)
        self._origin = (0,) * len(self._shape)

    def __len__(self) -> int:
        return int(self._length)

    @property
    def last(self) -> int:
        """The last row, of a dataset of iterations; -1 for none."""
        return int(self._dataset[-1]) if self._length else -1

    def append(self, rows: npt.NDArray[np.generic]) -> None:
        """Append `rows`, (n, *shape) of the dataset's type."""
        self.write(self._length, rows)

    def write(self, start: int, rows: npt.NDArray[np.generic]) -> None:
        """Write `rows`, (n, *shape) of the dataset's type, from row `start` on; the last of them ends the dataset."""
        assert rows.dtype == self.dtype
        self._length = start + len(rows)
        self._id.set_extent((self._length, *self._shape))
        if rows.size:
            space = self._id.get_space()
            space.select_hyperslab((start, *self._origin), rows.shape)
            self._id.write(h5s.create_simple(rows.shape), space, np.ascontiguousarray(rows), self._type)
