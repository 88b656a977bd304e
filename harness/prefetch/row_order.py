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
        excluded: rows that are left out, as (file, row); not all rows of a file.

    Raises:
        ValueError: `order` is damaged.
    """

    def __init__(
        self,
        counts: Sequence[int],
        random: LibcRandom | None,
        order: RowOrder | None,
        records: int,
        excluded: Sequence[tuple[int, int]] = (),
    ) -> None:
        self._counts, self._random = counts, random
        self._excluded = {file: [row for other, row in excluded if other == file] for file, _ in excluded}
        if order is not None:
            self._files = np.array(order.files, np.int32)
            self._number = order.file
            rows = np.frombuffer(order.rows, "<i4").astype(np.int32)
            if not np.array_equal(np.sort(rows), np.arange(len(rows))):
                raise ValueError("not an order of rows: one is missing or there twice")
            self._read_in(rows)
            self._done = int(np.searchsorted(self._places, order.row))
            if not self.rows_left:
                self._next_file()
            return
        self._files = np.arange(len(counts), dtype=np.int32)
        self._number = self._done = 0
        if random is not None:
            random.shuffle(self._files)
        else:
            kept = [count - len(self._excluded.get(file, ())) for file, count in enumerate(counts)]
            ends = np.cumsum(kept)
            position = records % int(ends[-1])
            self._number = int(np.searchsorted(ends, position, side="right"))
            self._done = position - int(ends[self._number]) + kept[self._number]
        self._load()

    @property
    def file(self) -> int:
        """The number of the file that has the next row, in its list."""
        return int(self._files[self._number])

    @property
    def rows_left(self) -> int:
        """The number of rows of this file that are still to be read."""
        return len(self._places) - self._done

    @property
    def order(self) -> RowOrder:
        """The order, and where it stands."""
        rows = self._rows.astype("<i4").tobytes()
        return RowOrder(tuple(self._files.tolist()), self._number, rows, int(self._places[self._done]))

    def read(self, count: int) -> Iterator[tuple[int, Rows]]:
        """Yield the next `count` rows: the number of their file, and rows of it.

        The next file is loaded with the last row of the one before (HDF5DataLayer::Next).
        """
        while count > 0:
            rows = self._rows[self._places[self._done : self._done + count]]
            yield self.file, rows
            count -= len(rows)
            self._done += len(rows)
            if not self.rows_left:
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
        self._done = 0
        if self._random is not None:  # a second time, if the file was just loaded
            rows = self._rows.copy()
            self._random.shuffle(rows)
            self._read_in(rows)

    def _load(self) -> None:
        """See HDF5DataLayer::LoadHDF5FileData."""
        rows = np.arange(self._counts[self.file], dtype=np.int32)
        if self._random is not None:
            self._random.shuffle(rows)
        self._read_in(rows)

    def _read_in(self, rows: Rows) -> None:
        """Read the rows of this file in the order `rows`, from those of its places that are not left out."""
        self._rows: Rows = rows
        left_out = self._excluded.get(self.file)
        self._places = np.arange(len(rows)) if left_out is None else np.flatnonzero(~np.isin(rows, left_out))
