"""The order in which HDF5Data layers read the rows of their files (hdf5_data_layer.cpp)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from harness.prefetch.libc_random import LibcRandom
from harness.schemas.data_position import RowOrder

Rows = npt.NDArray[np.int32]


class RowReader:
    """Reads the rows of files with `counts` rows each, one after the other, endlessly.

    Args:
        random: shuffles the files before each epoch, and the rows of a file when it is loaded; None for the order as
            written. Layers of one process share it.
        order: where a shuffled order stands; None to draw the first one, as LayerSetUp does.
        records: without `random`, the rows that were read before.

    Raises:
        ValueError: `order` is damaged.
    """

    def __init__(self, counts: Sequence[int], random: LibcRandom | None, order: RowOrder | None, records: int) -> None:
        self._counts, self._random = counts, random
        if order is not None:
            self._files = np.array(order.files, np.int32)
            self._number, self._row = order.file, order.row
            self._rows: Rows = np.frombuffer(order.rows, "<i4").astype(np.int32)
            if not np.array_equal(np.sort(self._rows), np.arange(len(self._rows))):
                raise ValueError("not an order of rows: one is missing or there twice")
            return
        self._files = np.arange(len(counts), dtype=np.int32)
        self._number = self._row = 0
        if random is not None:
            random.shuffle(self._files)
        else:
            ends = np.cumsum(counts)
            position = records % int(ends[-1])
            self._number = int(np.searchsorted(ends, position, side="right"))
            self._row = position - int(ends[self._number]) + counts[self._number]
        self._load()

    @property
    def file(self) -> int:
        """The number of the file that has the next row, in its list."""
        return int(self._files[self._number])

    @property
    def rows_left(self) -> int:
        """The number of rows of this file that were not read yet."""
        return len(self._rows) - self._row

    @property
    def order(self) -> RowOrder:
        """The order, and where it stands."""
        return RowOrder(tuple(self._files.tolist()), self._number, self._rows.astype("<i4").tobytes(), self._row)

    def read(self, count: int) -> Iterator[tuple[int, Rows]]:
        """Yield the next `count` rows: the number of their file, and rows of it.

        The next file is loaded with the last row of the one before (HDF5DataLayer::Next).
        """
        while count > 0:
            rows = self._rows[self._row : self._row + count]
            yield self.file, rows
            count -= len(rows)
            self._row += len(rows)
            if self._row == len(self._rows):
                self._next_file()

    def skip(self, count: int) -> None:
        """Pass over the next `count` rows."""
        for _ in self.read(count):
            pass

    def _next_file(self) -> None:
        if len(self._counts) > 1:
            self._number += 1
            if self._number == len(self._files):
                self._number = 0
                if self._random is not None:
                    self._random.shuffle(self._files)
            self._load()
        self._row = 0
        if self._random is not None:  # a second time, if the file was just loaded
            self._rows = self._rows.copy()  # those that were yielded stay as they are
            self._random.shuffle(self._rows)

    def _load(self) -> None:
        """See HDF5DataLayer::LoadHDF5FileData."""
        self._rows = np.arange(self._counts[self.file], dtype=np.int32)
        if self._random is not None:
            self._random.shuffle(self._rows)
