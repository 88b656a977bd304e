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
from harness.recording.hdf5_schema import array_paths, chunk_bytes, extend
from harness.recording.window_datasets import open_dataset
from harness.schemas.layout import Array

# Rows by which a window array grows at once: growing costs as much as writing. /window/iteration says which are filled;
# the others are dropped when the file is closed or repaired.
_GROW_BY = 16


@dataclass
class _WindowArray:
    """One window array: the shape and bytes of an iteration, its dataset, bytes of a chunk, and its current rows."""

    shape: tuple[int, ...]
    nbytes: int
    dataset: h5py.Dataset
    chunk_bytes: int
    extent: int
    checksum: xxhash.xxh3_64 = field(default_factory=xxhash.xxh3_64)
    checked: int = 0  # bytes of the iteration that `checksum` has seen


class WindowWriter:
    """Appends `arrays` to the group /window of the open `file`.

    Attributes:
        last_iteration: the newest iteration whose arrays are complete, -1 for none.
    """

    def __init__(self, file: h5py.File, arrays: Sequence[Array]) -> None:
        self._iterations, self._checksums = file["window/iteration"], file["window"][CHECKSUM]
        datasets = [open_dataset(file, path) for path in array_paths(arrays)]
        self._arrays = [
            _WindowArray(array.shape, array.nbytes, dataset, chunk_bytes(dataset), len(dataset))
            for array, dataset in zip(arrays, datasets, strict=True)
        ]
        self._row = len(self._iterations)
        self.last_iteration = int(self._iterations[-1]) if self._row else -1

    def write(self, array: int, start: int, payload: memoryview) -> list[tuple[int, memoryview]]:
        """Write a part of the next iteration; see `Writer.write_slab`."""
        parts = []
        while payload.nbytes:
            into = self._arrays[array]
            rest = into.nbytes - start * (into.nbytes // into.shape[0]) if start else into.nbytes
            part, payload = payload[:rest], payload[rest:]
            parts.append((array, part))
            self._write_part(into, start, part)
            array, start = array + 1, 0
        return parts

    def complete(self, iteration: int) -> None:
        """Declare that all parts of `iteration` are written."""
        time = np.array([iteration], np.int64)
        arrays = [self._checksum(array, iteration) for array in self._arrays]
        self._checksums.resize(self._row + 1, axis=0)  # may have been written before a take-over
        self._checksums[self._row] = [*checksums.row_checksums(time, time)[0], *arrays]
        extend(self._iterations, time)
        self._row += 1
        self.last_iteration = iteration

    def append_rows(self, iterations: npt.NDArray[np.int64], columns: Iterable[npt.NDArray[np.generic]]) -> None:
        """Append n whole iterations (n,) array by array, (n, *shape) each: much faster than one after the other."""
        stop = self._row + len(iterations)
        sums = [checksums.row_checksums(iterations, iterations)[:, 0]]
        for array, rows in zip(self._arrays, columns, strict=True):
            if array.extent < stop:
                array.extent = stop
                array.dataset.id.set_extent((stop, *array.shape))
            array.dataset[self._row : stop] = rows
            sums.append(_row_checksums(iterations, rows))
        self._checksums.resize(stop, axis=0)
        self._checksums[self._row :] = np.stack(sums, axis=1)
        extend(self._iterations, iterations)
        self._row, self.last_iteration = stop, int(iterations[-1])

    def _write_part(self, array: _WindowArray, start: int, part: memoryview) -> None:
        array.checksum.update(part)
        array.checked += part.nbytes
        self._grow(array)
        if part.nbytes == array.chunk_bytes:  # past the selections of h5py and HDF5, in a tenth of the time
            offset = (self._row, start, *(0 for _ in array.shape[1:]))
            array.dataset.id.write_direct_chunk(offset[: 1 + len(array.shape)], part)
        elif part.nbytes:
            values = np.frombuffer(part, array.dataset.dtype).reshape(-1, *array.shape[1:])
            array.dataset[self._row, start : start + len(values)] = values

    def _grow(self, array: _WindowArray) -> None:
        if array.extent <= self._row:
            array.extent = self._row + _GROW_BY
            array.dataset.id.set_extent((array.extent, *array.shape))

    def _checksum(self, array: _WindowArray, iteration: int) -> int:
        """Return the checksum of an array whose iteration is complete, and begin the next."""
        if array.checked == array.nbytes:
            state = array.checksum
        else:  # a part was written by the writer that this one took over from, or by nobody
            self._grow(array)
            state = xxhash.xxh3_64(array.dataset[self._row].tobytes())
        state.update(checksums.iteration_bytes(iteration))
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
