"""Writer of a recording: frames in, HDF5 out, readable by others at every moment (SWMR)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from harness.atomic_write import sync
from harness.errors import RecordingError, RecordingFailed
from harness.recording import checksums
from harness.recording.checksums import CHECKSUM
from harness.recording.growing import GrowingDataset
from harness.recording.hdf5_schema import Attributes, chunk_bytes, create_datasets, datasets, row_datasets
from harness.recording.journal import edit, finish
from harness.recording.preallocate import Preallocation, let_go
from harness.recording.repair import drop_incomplete_rows
from harness.recording.superblock import is_marked_open
from harness.recording.window_writer import WindowWriter
from harness.schemas import layout as fmt
from harness.schemas.layout import Alarm, Layout, link_names

# Free bytes at which recording stops, so that the file can still be closed and run.json written.
MIN_FREE_SPACE = 4 << 20
SPARE_SPACE = 4 * MIN_FREE_SPACE  # free bytes that a recording needs beside its own size, roughly
_CHECK_EVERY = 1 << 20  # bytes between two checks of the free space
_CHUNK_INDEX = 1 << 14  # bytes by which the index of one dataset's chunks may grow at once


class Writer:
    """Appends to the recording at `path`.

    Every method raises RecordingFailed when the disk is full or broken; what was flushed before stays readable.

    Attributes:
        last_iteration: the newest iteration in the file, -1 for none.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self.layout = layout
        with _disk_errors(path):
            # rows are appended: of each dataset the last chunk is all that a cache needs to hold
            # `write_lock` is the lock, not HDF5's own
            self._file = h5py.File(path, "r+", libver="latest", rdcc_nslots=1, locking=False)
            self._open_datasets()
            self._file.swmr_mode = True
        self.last_iteration = self._scalars["iteration"].last
        self._last_activation = self._activation_rows.last
        self._unchecked = _CHECK_EVERY
        self._unflushed = 0
        self._preallocation = Preallocation(path, self._margin())
        try:
            self.reserve(0)
        except RecordingFailed:
            self.abandon()
            raise

    @classmethod
    def create(cls, path: Path, layout: Layout, attributes: Attributes) -> Writer:
        """Create a recording; `attributes` become those of its root. The file appears with all datasets in it."""
        part = path.with_name(path.name + ".part")
        with _disk_errors(path):
            with h5py.File(part, "w", libver="latest") as file:
                create_datasets(file, layout, attributes)
            sync(part)
            os.replace(part, path)
            sync(path.parent)
        return cls(path, layout)

    @classmethod
    def take_over(cls, path: Path, layout: Layout) -> Writer:
        """Continue the recording of a writer that died."""
        with _disk_errors(path):
            finish(path)
            edit(path, partial(drop_incomplete_rows, resuming=True))
        return cls(path, layout)

    def _open_datasets(self) -> None:
        file, layout = self._file, self.layout

        def growing(path: str) -> GrowingDataset:
            return GrowingDataset(file[path])

        self._scalars = {n: growing(n) for n in ("iteration", "lr", "loss", "smoothed_loss", "seconds", "digest")}
        paths = link_names(o.name for o in layout.outputs)
        self._outputs = [growing(f"output/{paths[o.name]}") for o in layout.outputs]
        self._stats = [growing(f"stat/{name}") for name in fmt.STATS]
        self._inputs = [growing(f"input_stat/{name}") for name in fmt.INPUT_STATS]
        self._activations = [growing(f"activation/{name}") for name in fmt.ACTIVATION_STATS]
        self._activation_rows = growing("activation/iteration")
        self._checksums = growing(CHECKSUM)
        self._activation_checksums = growing(f"activation/{CHECKSUM}")
        self._alarms = growing("alarm")
        self._windows = WindowWriter(file, layout.arrays) if "window" in file else None
        self._tests = []
        for net, outputs in enumerate(layout.test_outputs):
            paths = link_names(o.name for o in outputs)
            averages = [growing(f"test/{net}/output/{paths[o.name]}") for o in outputs]
            self._tests.append((growing(f"test/{net}/iteration"), averages, growing(f"test/{net}/{CHECKSUM}")))

    def _margin(self) -> int:
        """Bytes that the file may grow by beyond the rows appended."""
        rows = row_datasets(self._file) + datasets(self._file["activation"]) + datasets(self._file["test"])
        # the first row takes a whole chunk; a chunk index grows in pages
        growth = sum(map(chunk_bytes, rows)) + _CHUNK_INDEX * (len(rows) + len(self.layout.arrays))
        growth += self._windows.spare_bytes if self._windows is not None else 0
        return growth + MIN_FREE_SPACE + _CHECK_EVERY

    # -- rows -------------------------------------------------------------------------------------------------------

    def append_frames(self, frames: npt.NDArray[np.void]) -> None:
        """Append complete iterations, (n,) of Layout.frame_dtype; skip those already in the file (see `take_over`)."""
        frames = frames[frames["iteration"] > self.last_iteration]
        if not len(frames):
            return
        self.reserve(frames.nbytes)
        starts = self.layout.output_columns
        rows = [frames["output"][:, starts[o.name] : starts[o.name] + o.size] for o in self.layout.outputs]
        rows += [frames["stat"][:, number] for number in range(len(self._stats))]
        rows += [frames["input"][:, number] for number in range(len(self._inputs))]
        times = np.ascontiguousarray(frames["iteration"])
        scalars = {name: frames[name] for name in self._scalars}
        with _disk_errors(self.path):
            if (
                self._windows is not None
            ):  # after a kill, arrays without a frame are dropped, not a frame without arrays
                self._windows.flush()
            for dataset, values in zip((*self._outputs, *self._stats, *self._inputs), rows, strict=True):
                dataset.append(values)
            self._checksums.append(checksums.row_checksums(times, times, checksums.scalar_rows(scalars), *rows))
            for name, values in scalars.items():
                self._scalars[name].append(values)
        self.last_iteration = int(frames["iteration"][-1])

    def append_activations(self, iterations: Sequence[int], values: npt.NDArray[np.float64]) -> None:
        """Append the (S, A, 4) statistics of the net's blobs at S iterations."""
        new = np.array(iterations) > self._last_activation
        if not new.any():
            return
        times = np.array(iterations, np.int64)[new]
        rows = [values[new, :, column] for column in range(len(self._activations))]
        with _disk_errors(self.path):
            for dataset, part in zip(self._activations, rows, strict=True):
                dataset.append(part)
            self._activation_checksums.append(checksums.row_checksums(times, times, *rows))
            self._activation_rows.append(times)
        self._last_activation = iterations[-1]

    def append_test_pass(self, net: int, iteration: int, values: npt.NDArray[np.float32]) -> None:
        """Append the outputs of test net `net`, one after the other, averaged over its test pass at `iteration`."""
        iterations, outputs, sums = self._tests[net]
        if iterations.last >= iteration:
            return
        starts = itertools.accumulate((output.size for output in self.layout.test_outputs[net]), initial=0)
        rows = [values[None, start:stop] for start, stop in itertools.pairwise(starts)]
        time = np.array([iteration], np.int64)
        with _disk_errors(self.path):
            for dataset, part in zip(outputs, rows, strict=True):
                dataset.append(part)
            sums.append(checksums.row_checksums(time, time, *rows))
            iterations.append(time)

    def append_alarms(self, alarms: Sequence[Alarm]) -> None:
        """Append alarms, and flush."""
        fields = [(a.iteration, a.rule, _truncated(a.subject), a.value, a.limit, 0) for a in alarms]
        rows = np.array(fields, self._alarms.dtype)
        rows[CHECKSUM] = [checksums.alarm_checksum(row) for row in rows]
        self.reserve(rows.nbytes)
        with _disk_errors(self.path):
            self._alarms.append(rows)
        self.flush()

    # -- windows ----------------------------------------------------------------------------------------------------

    def write_slab(self, array: int, start: int, payload: memoryview) -> list[tuple[int, memoryview]]:
        """Write a part of the next iteration of a window; `complete_window_iteration` makes it count.

        Args:
            array: number of a window array in `layout.arrays`.
            start: its first row in `payload`.
            payload: rows of that array; if it is longer, the arrays that come next follow, each whole.

        Returns:
            The number and the bytes of each array that was in `payload`.
        """
        assert self._windows is not None
        self.reserve(payload.nbytes)
        with _disk_errors(self.path):
            return self._windows.write(array, start, payload)

    def complete_window_iteration(self, iteration: int) -> None:
        """Declare that all slabs of `iteration` are written."""
        if self._windows is not None:
            with _disk_errors(self.path):
                self._windows.complete(iteration)

    @property
    def last_window_iteration(self) -> int:
        """The newest iteration whose window arrays are complete, -1 for none."""
        return -1 if self._windows is None else self._windows.last_iteration

    # -- the file ---------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Make everything appended so far visible to readers, and safe from a kill of this process."""
        with _disk_errors(self.path):
            if self._windows is not None:
                self._windows.flush()
            self._file.flush()
        self._unflushed = 0

    def reserve(self, nbytes: int) -> None:
        """Allocate disk space for `nbytes` bytes that come next.

        Raises:
            RecordingFailed: the disk is full. It shows here and not in HDF5, which does not survive a failed write.
        """
        self._unchecked += nbytes
        self._unflushed += nbytes
        if self._unchecked < _CHECK_EVERY:
            return
        self._unchecked = 0
        with _disk_errors(self.path):
            self._preallocation.extend(self._file.id.get_filesize() + self._unflushed)
        free = self._preallocation.free
        if free < MIN_FREE_SPACE:
            raise RecordingFailed(
                f"{self.path}: the disk is full ({free / 2**20:.1f} MiB left). Everything up to iteration "
                f"{self.last_iteration} is recorded; free some space and run again, or give --out on another disk"
            )

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._preallocation.size

    @property
    def is_deleted(self) -> bool:
        """Whether someone has deleted the file."""
        return self._preallocation.is_deleted

    def sync(self) -> None:
        """Write what was flushed to the disk itself, so that it lasts through a power failure."""
        with _disk_errors(self.path):
            self._preallocation.sync()

    def close(self, run_info: bytes | None = None) -> None:
        """Complete the file: a plain h5py.File(path) opens it from now on.

        `run_info` becomes the content of run.json: after a kill, either both are complete or neither is.
        """
        self.flush()
        with _disk_errors(self.path):
            self._let_go()
            edit(self.path, _complete, run_info)

    def abandon(self) -> None:
        """Close a file that cannot be written any further, with the rows that are complete."""
        with suppress(OSError, RuntimeError, RecordingError):
            self._let_go()
            finish(self.path)
            if is_marked_open(self.path):
                edit(self.path, drop_incomplete_rows)

    def _let_go(self) -> None:
        """Close the HDF5 file without another write: HDF5 clears the flags before all is complete."""
        if not self._file:
            return
        let_go(self._file)
        self._preallocation.close()


def _complete(file: h5py.File) -> None:
    drop_incomplete_rows(file)
    file.attrs["closed"] = True


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, RecordingError) as error:  # HDF5 reports a failed write as one of the first two
        if "No space left on device" in str(error):
            raise RecordingFailed(
                f"{path}: the disk is full. What was flushed before is recorded; free some space and run again, or "
                "give --out on another disk"
            ) from error
        raise RecordingFailed(f"{path}: cannot write the recording any further ({error})") from error


def _truncated(text: str) -> bytes:
    """As much of `text` as an alarm's subject has room for."""
    return text.encode()[:256].decode(errors="ignore").encode()
