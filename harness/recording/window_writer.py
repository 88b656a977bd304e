"""Writer of the arrays of windows: their bytes, an iteration after the other, and the checksums of these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import h5py
import numpy as np
import numpy.typing as npt
import xxhash

from harness.recording import checksums
from harness.recording.checksums import CHECKSUM
from harness.recording.growing import GrowingDataset
from harness.recording.hdf5_schema import array_paths, chunk_bytes
from harness.recording.window_datasets import open_dataset
from harness.schemas.layout import Array

# Rows by which a window array grows at once: growing costs as much as writing. /window/iteration says which are filled;
# the others are dropped when the file is closed or repaired.
_GROW_BY = 16


@dataclass
class _WindowArray:
    """One window array: the shape and bytes of an iteration, its dataset, rows and bytes of a chunk, and its extent."""

    shape: tuple[int, ...]
    nbytes: int
    dataset: h5py.Dataset
    chunk_rows: int
    chunk_bytes: int
    extent: int
    checksum: xxhash.xxh3_64 = field(default_factory=xxhash.xxh3_64)
    checked: int = 0  # bytes of the iteration that `checksum` has seen
    chunk: memoryview | None = None  # the one that is being filled, where it has several rows
    chunk_start: int = 0  # its first row
    is_written: bool = True  # the chunk, as it is


class WindowWriter:
    """Appends `arrays` to the group /window of the open `file`. What is small is written at the next `flush`.

    Attributes:
        last_iteration: the newest iteration whose arrays are complete, -1 for none.
    """

    def __init__(self, file: h5py.File, arrays: Sequence[Array]) -> None:
        self._iterations = GrowingDataset(file["window/iteration"])
        self._checksums = GrowingDataset(file[f"window/{CHECKSUM}"])
        datasets = [open_dataset(file, path) for path in array_paths(arrays)]
        self._arrays = [
            _WindowArray(array.shape, array.nbytes, dataset, dataset.chunks[0], chunk_bytes(dataset), len(dataset))
            for array, dataset in zip(arrays, datasets, strict=True)
        ]
        self._row = len(self._iterations)
        self._complete: list[tuple[int, list[int]]] = []  # iterations since the last flush, and their checksums
        self.last_iteration = self._iterations.last

    @property
    def spare_bytes(self) -> int:
        """Bytes of chunks that may be allocated before they are filled."""
        return sum(array.chunk_bytes for array in self._arrays if array.chunk_rows > 1)

    def write(self, array: int, start: int, payload: memoryview) -> list[tuple[int, memoryview]]:
        """Write a part of the next iteration; see `Writer.write_slab`."""
        parts, position = [], 0
        while position < payload.nbytes:
            into = self._arrays[array]
            skipped = start * (into.nbytes // into.shape[0]) if start else 0
            part = payload[position : position + into.nbytes - skipped]
            parts.append((array, part))
            self._write_part(into, start, skipped, part)
            array, start, position = array + 1, 0, position + part.nbytes
        return parts

    def complete(self, iteration: int) -> None:
        """Declare that all parts of `iteration` are written."""
        end = checksums.iteration_bytes(iteration)
        self._complete.append((iteration, [self._checksum(array, end) for array in self._arrays]))
        self._row += 1
        self.last_iteration = iteration

    def flush(self) -> None:
        """Write what is not written yet."""
        for array in self._arrays:
            self._write_chunk(array)
        if self._complete:
            times = np.array([iteration for iteration, _ in self._complete], np.int64)
            arrays = np.array([sums for _, sums in self._complete], np.uint64)
            sums = np.concatenate([checksums.row_checksums(times, times), arrays], axis=1)
            self._checksums.write(self._row - len(times), sums)  # may have been written before a take-over
            self._iterations.append(times)
            self._complete = []

    def append_rows(self, iterations: npt.NDArray[np.int64], columns: Iterable[npt.NDArray[np.generic]]) -> None:
        """Append n whole iterations (n,) array by array, (n, *shape) each: much faster than one after the other."""
        self.flush()
        stop = self._row + len(iterations)
        sums = [checksums.row_checksums(iterations, iterations)[:, 0]]
        for array, rows in zip(self._arrays, columns, strict=True):
            if array.extent < stop:
                array.extent = stop
                array.dataset.id.set_extent((stop, *array.shape))
            array.dataset[self._row : stop] = rows
            array.chunk = None
            sums.append(_row_checksums(iterations, rows))
        self._checksums.write(self._row, np.stack(sums, axis=1))
        self._iterations.append(iterations)
        self._row, self.last_iteration = stop, int(iterations[-1])

    def _write_part(self, array: _WindowArray, start: int, skipped: int, part: memoryview) -> None:
        """Write rows from `start` on of an array of the next iteration, after `skipped` bytes of it."""
        array.checksum.update(part)
        array.checked += part.nbytes
        if array.extent <= self._row:
            self._grow(array)
        if array.chunk_rows > 1:
            chunk = array.chunk
            if chunk is None or not 0 <= self._row - array.chunk_start < array.chunk_rows:
                chunk = self._begin_chunk(array)
            position = (self._row - array.chunk_start) * array.nbytes + skipped
            chunk[position : position + part.nbytes] = part
            array.is_written = False
        elif part.nbytes == array.chunk_bytes:  # past the selections of h5py and HDF5, in a tenth of the time
            offset = (self._row, start, *(0 for _ in array.shape[1:]))
            array.dataset.id.write_direct_chunk(offset[: 1 + len(array.shape)], part)
        elif part.nbytes:
            values = np.frombuffer(part, array.dataset.dtype).reshape(-1, *array.shape[1:])
            array.dataset[self._row, start : start + len(values)] = values

    def _grow(self, array: _WindowArray) -> None:
        array.extent = self._row + _GROW_BY
        array.dataset.id.set_extent((array.extent, *array.shape))

    def _begin_chunk(self, array: _WindowArray) -> memoryview:
        """Begin the chunk of the next row, of an array that has several rows in one."""
        self._write_chunk(array)
        is_first = array.chunk is None
        array.chunk = memoryview(bytearray(array.chunk_bytes))
        array.chunk_start = self._row - self._row % array.chunk_rows
        if is_first:  # the writer that this one took over from may have begun it
            rows = array.dataset[array.chunk_start : self._row + 1].tobytes()
            array.chunk[: len(rows)] = rows
        return array.chunk

    def _write_chunk(self, array: _WindowArray) -> None:
        if array.chunk is not None and not array.is_written:
            offset = (array.chunk_start, *(0 for _ in array.shape))
            array.dataset.id.write_direct_chunk(offset, array.chunk)
            array.is_written = True

    def _checksum(self, array: _WindowArray, end: bytes) -> int:
        """Return the checksum of an array that is complete, at the iteration with the bytes `end`; begin the next."""
        if array.extent <= self._row:  # nobody has written it
            self._grow(array)
        if array.checked == array.nbytes:
            state = array.checksum
        else:  # a part was written by the writer that this one took over from, or by nobody
            self._write_chunk(array)
            state = xxhash.xxh3_64(array.dataset[self._row].tobytes())
        state.update(end)
        found = state.intdigest()
        array.checksum.reset()
        array.checked = 0
        return found


def _row_checksums(iterations: npt.NDArray[np.int64], rows: npt.NDArray[np.generic]) -> npt.NDArray[np.uint64]:
    """Return what `checksums.row_checksums` does for one dataset, without a copy of its rows, which may be large."""
    found = []
    for iteration, row in zip(iterations.tolist(), rows, strict=True):
        state = xxhash.xxh3_64(np.ascontiguousarray(row).tobytes() if row.dtype.kind == "S" else row)
        state.update(checksums.iteration_bytes(iteration))
        found.append(state.intdigest())
    return np.array(found, np.uint64)
