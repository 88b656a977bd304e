"""The one writer of a recording: frames in, HDF5 out, readable by others at every moment (SWMR)."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from harness.errors import RecordingFailed
from harness.recording.hdf5_schema import array_paths, create_datasets, datasets
from harness.recording.preallocate import Preallocation
from harness.recording.repair import clear_status_flags, drop_incomplete_rows, is_marked_open
from harness.schemas import layout as fmt
from harness.schemas.layout import Alarm, Layout, link_names

# Free bytes at which recording stops, so that the file can still be closed and run.json written.
MIN_FREE_SPACE = 4 << 20
SPARE_SPACE = 4 * MIN_FREE_SPACE  # what a recording wants beside its size, about
_CHECK_EVERY = 1 << 20  # bytes between two looks at how much is free
# Rows by which a window array grows at once: growing costs as much as writing. /window/iteration says which are filled,
# and the others are cut when the file is closed or mended.
_AHEAD = 16
_INDEX = 1 << 14  # bytes by which the index of one dataset's chunks may grow at once


class Writer:
    """Appends to the recording at `path`; every method may raise RecordingFailed when the disk gives out."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self.layout = layout
        with _disk_errors(path):
            # rows are appended: of each dataset the last chunk is all that a cache needs to hold
            self._file = h5py.File(path, "r+", libver="latest", rdcc_nslots=1, locking=False)  # `writing` is the lock
            self._open_datasets()
            self._file.swmr_mode = True
        self.last_iteration = _last(self._scalars["iteration"])
        self.last_window_iteration = -1 if self._window is None else _last(self._window)
        self._last_activation = _last(self._activation_rows)
        self._window_row = 0 if self._window is None else len(self._window)
        self._unchecked = _CHECK_EVERY
        self._unflushed = 0
        rows = [d for name in (*fmt.ROWS, "activation", "test") for d in datasets(self._file[name])]
        # the first row takes a whole chunk; a chunk index grows in pages
        margin = sum(map(_chunk_bytes, rows)) + _INDEX * (len(rows) + len(self._arrays)) + MIN_FREE_SPACE + _CHECK_EVERY
        self._preallocation = Preallocation(path, margin)
        try:
            self.reserve(0)
        except RecordingFailed:
            self.abandon()
            raise

    @classmethod
    def create(cls, path: Path, layout: Layout, facts: Mapping[str, Any]) -> Writer:
        """A new recording; `facts` become attributes of its root. The file appears with all datasets laid out."""
        part = path.with_name(path.name + ".part")
        with _disk_errors(path):
            with h5py.File(part, "w", libver="latest") as file:
                create_datasets(file, layout, facts)
            os.replace(part, path)
        return cls(path, layout)

    @classmethod
    def take_over(cls, path: Path, layout: Layout) -> Writer:
        """Go on with the recording of a writer that died."""
        with _disk_errors(path):
            clear_status_flags(path)
            with h5py.File(path, "r+", libver="latest", locking=False) as file:
                drop_incomplete_rows(file, resuming=True)
        return cls(path, layout)

    def _open_datasets(self) -> None:
        file, layout = self._file, self.layout
        self._scalars = {n: file[n] for n in ("iteration", "lr", "loss", "smoothed_loss", "seconds", "digest")}
        paths = link_names(o.name for o in layout.outputs)
        self._outputs = [file["output"][paths[o.name]] for o in layout.outputs]
        self._stats = [file["stat"][name] for name in fmt.STATS]
        self._activations = [file["activation"][name] for name in fmt.ACTIVATION_STATS]
        self._activation_rows = file["activation/iteration"]
        self._window = file["window/iteration"] if "window" in file else None
        self._arrays = [
            (array.shape, array.nbytes, file[path], _chunk_bytes(file[path]))
            for array, path in zip(layout.arrays, array_paths(layout), strict=True)
        ]
        self._extents = [len(dataset) for _, _, dataset, _ in self._arrays]
        self._tests = []
        for net, outputs in enumerate(layout.test_outputs):
            paths = link_names(o.name for o in outputs)
            group = file[f"test/{net}"]
            self._tests.append((group["iteration"], [group["output"][paths[o.name]] for o in outputs]))

    def append_frames(self, frames: npt.NDArray[np.void]) -> None:
        """Add complete iterations. Those that the file holds already are passed over (see `take_over`)."""
        frames = frames[frames["iteration"] > self.last_iteration]
        if not len(frames):
            return
        self.reserve(frames.nbytes)
        with _disk_errors(self.path):
            column = 0
            for dataset, output in zip(self._outputs, self.layout.outputs, strict=True):
                _extend(dataset, frames["output"][:, column : column + output.size])
                column += output.size
            for row, dataset in enumerate(self._stats):
                _extend(dataset, frames["stat"][:, row])
            for name, dataset in self._scalars.items():
                _extend(dataset, frames[name])
        self.last_iteration = int(frames["iteration"][-1])

    def write_slab(self, array: int, start: int, payload: memoryview) -> list[tuple[int, memoryview]]:
        """Part of the iteration that `complete_window_iteration` will complete: rows `start`… of window array `array`.

        Where the payload is longer than that array, the arrays that come next follow, each whole. Says what it was:
        numbers of arrays, and the bytes of each.
        """
        parts = []
        self.reserve(payload.nbytes)
        with _disk_errors(self.path):
            while payload.nbytes:
                shape, nbytes, dataset, chunk_bytes = self._arrays[array]
                rest = nbytes - start * (nbytes // shape[0]) if start else nbytes
                part, payload = payload[:rest], payload[rest:]
                parts.append((array, part))
                if self._extents[array] <= self._window_row:
                    self._extents[array] = self._window_row + _AHEAD
                    dataset.id.set_extent((self._extents[array], *shape))
                if part.nbytes == chunk_bytes:  # past the selections of h5py and HDF5, in a tenth of the time
                    at = (self._window_row, start, *(0 for _ in shape[1:]))
                    dataset.id.write_direct_chunk(at[: 1 + len(shape)], part)
                elif part.nbytes:
                    values = np.frombuffer(part, dataset.dtype).reshape(-1, *shape[1:])
                    dataset[self._window_row, start : start + len(values)] = values
                array, start = array + 1, 0
        return parts

    def complete_window_iteration(self, iteration: int) -> None:
        """All slabs of `iteration` are here: it counts from now on."""
        if self._window is None:
            return
        with _disk_errors(self.path):
            _extend(self._window, np.array([iteration]))
        self._window_row += 1
        self.last_window_iteration = iteration

    def append_activations(self, iterations: Sequence[int], values: npt.NDArray[np.float64]) -> None:
        """(S, A, 4) statistics of the net's blobs at S iterations."""
        new = np.array(iterations) > self._last_activation
        if not new.any():
            return
        with _disk_errors(self.path):
            for column, dataset in enumerate(self._activations):
                _extend(dataset, values[new, :, column])
            _extend(self._activation_rows, np.array(iterations)[new])
        self._last_activation = iterations[-1]

    def append_test_pass(self, net: int, iteration: int, values: npt.NDArray[np.float32]) -> None:
        """The outputs of test net `net`, averaged over one test pass made at `iteration`."""
        rows, outputs = self._tests[net]
        if len(rows) and rows[-1] >= iteration:
            return
        with _disk_errors(self.path):
            column = 0
            for dataset, output in zip(outputs, self.layout.test_outputs[net], strict=True):
                _extend(dataset, values[None, column : column + output.size])
                column += output.size
            _extend(rows, np.array([iteration]))

    def append_alarms(self, alarms: Sequence[Alarm]) -> None:
        """What the rules found; it is in the file when this returns."""
        dataset = self._file["alarm"]
        rows = np.array([(a.iteration, a.rule, _cut(a.subject), a.value, a.limit) for a in alarms], dataset.dtype)
        self.reserve(rows.nbytes)
        with _disk_errors(self.path):
            _extend(dataset, rows)
        self.flush()

    def flush(self) -> None:
        """Everything appended so far is in the file, for readers and for whoever comes after a kill."""
        with _disk_errors(self.path):
            self._file.flush()
        self._unflushed = 0

    def reserve(self, nbytes: int) -> None:
        """Stop before HDF5 meets the end of the disk, which it cannot survive."""
        self._unchecked += nbytes
        self._unflushed += nbytes
        if self._unchecked < _CHECK_EVERY:
            return
        self._unchecked = 0
        with _disk_errors(self.path):
            self._preallocation.extend(self._file.id.get_filesize() + self._unflushed)
        free = shutil.disk_usage(self.path).free
        if free < MIN_FREE_SPACE:
            raise RecordingFailed(
                f"{self.path}: the disk is full ({free / 2**20:.1f} MiB left). Everything up to iteration "
                f"{self.last_iteration} is recorded; free some space and run again, or give --out on another disk"
            )

    def close(self) -> None:
        """Complete the file: a plain h5py.File(path) opens it from now on."""
        with _disk_errors(self.path):
            self._file.close()
            with h5py.File(self.path, "r+", libver="latest", locking=False) as file:
                drop_incomplete_rows(file)
                file.attrs["closed"] = True
            self._preallocation.close()

    def abandon(self) -> None:
        """Let go of a file that cannot be written any further, with the rows that are complete."""
        with suppress(OSError, RuntimeError):
            self._file.close()
        with suppress(OSError, RuntimeError):
            self._preallocation.close()
            if is_marked_open(self.path):
                clear_status_flags(self.path)
            with h5py.File(self.path, "r+", libver="latest", locking=False) as file:
                drop_incomplete_rows(file)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # HDF5 reports a failed write as either
        if "No space left on device" in str(error):
            raise RecordingFailed(
                f"{path}: the disk is full. What was flushed before is recorded; free some space and run again, or "
                "give --out on another disk"
            ) from error
        raise RecordingFailed(f"{path}: cannot write the recording any further ({error})") from error


def _last(rows: h5py.Dataset) -> int:
    return int(rows[-1]) if len(rows) else -1


def _chunk_bytes(dataset: h5py.Dataset) -> int:
    return int(math.prod(dataset.chunks) * dataset.dtype.itemsize)


def _cut(text: str) -> bytes:
    """As much of `text` as an alarm's subject has room for."""
    return text.encode()[:256].decode(errors="ignore").encode()


def _extend(dataset: h5py.Dataset, rows: npt.NDArray[np.generic]) -> None:
    old = dataset.shape[0]
    dataset.resize(old + len(rows), axis=0)
    dataset[old:] = rows
