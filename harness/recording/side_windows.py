"""Windows in files of their own, `windows/A-B.h5` in a run directory: what a recording had no room for when it began.

All datasets of a recording are created before its first iteration (see hdf5_schema). What turns out later to be worth
keeping, as the iterations around an alarm, goes into such a file: the same datasets below /window, and the digest of
the weights of each iteration, which shows that they belong to the recording. Where several files begin and end with the
same iterations but have other arrays, the later ones are `A-B.2.h5` and so on.
"""

from __future__ import annotations

import itertools
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from harness.atomic_write import set_default_mode, sync
from harness.caffe_files.paths import is_directory, is_file
from harness.errors import RecordingError, RecordingFailed
from harness.recording.checksums import CHECKSUM, row_checksums
from harness.recording.growing import GrowingDataset
from harness.recording.hdf5_schema import create_window_datasets, datasets
from harness.recording.preallocate import Preallocation, let_go
from harness.recording.structure import check_window_structure
from harness.recording.window_writer import WindowWriter
from harness.schemas.layout import ACTIVATION_STATS, FORMAT_VERSION, WINDOW_FORMAT, Array

DIRECTORY = "windows"
PART = "window.h5"  # its name until it is complete, between a dot and a random suffix
DIGEST = Array("digest", "digest", None, (), "<u8")
_NAME = re.compile(r"(\d{1,19})-(\d{1,19})(?:\.\d{1,4})?\.h5")
_MOST_FILES = 1000  # of a run; a hostile directory may have more
_OVERHEAD = 1 << 16  # bytes of an array's dataset beside its values: header, attributes, index of its chunks
_SPARE = 32 << 20  # free bytes that are left to the recording and the snapshots, and as much as the window takes


class SideWindow:
    """Writes one window into a file of its own in the directory `run`.

    Args:
        arrays: what is kept of each iteration, in the order of ALL_CAPTURES; then the keys, if there are any.
        most: the iterations that may come.
        activations: the blobs whose statistics are kept as well.
        leaves_half: of the free room to the recording and to snapshots, which are still being written.

    Raises:
        RecordingFailed: the disk has not enough room for them, or it cannot be written. So do the methods; what was
            written is then removed.
    """

    def __init__(
        self, run: Path, arrays: Sequence[Array], most: int, *, activations: int = 0, leaves_half: bool = True
    ) -> None:
        self._directory = run / DIRECTORY
        self._iterations: list[int] = []
        all_arrays = (*arrays, DIGEST)
        self._digest = len(arrays)
        size = most * sum(array.nbytes for array in all_arrays) + _OVERHEAD * (8 + len(all_arrays))
        size += 4 * sum({length for array in all_arrays for length in array.shape})
        size += (most * 8 * activations + _OVERHEAD) * len(ACTIVATION_STATS) if activations else 0
        try:
            free = _free(run)
            if free < (2 * size if leaves_half else size) + _SPARE:
                has = (
                    f"half of the {free / 2**20:,.0f} MiB that are free on the disk is left to the recording and to "
                    "snapshots"
                    if leaves_half
                    else f"the disk has {free / 2**20:,.0f} MiB free, of which {_SPARE >> 20} are left"
                )
                raise RecordingFailed(f"they take {size / 2**20:,.1f} MiB, and {has}")
            self._directory.mkdir(exist_ok=True)
            fd, name = tempfile.mkstemp(dir=self._directory, prefix=f".{PART}.")
            set_default_mode(fd)
            os.close(fd)
        except OSError as error:
            raise RecordingFailed(f"{self._directory}: {error.strerror}") from error
        self._part = Path(name)
        self._file = h5py.File(self._part, "w", libver="latest", rdcc_nslots=1, locking=False)  # writes nothing yet
        self._blocks = Preallocation(self._part, 0)
        with self._failures():
            self._blocks.extend(size)  # a full disk shows here, before HDF5 writes anything
            self._file.attrs["format"] = WINDOW_FORMAT
            self._file.attrs["format_version"] = FORMAT_VERSION
            create_window_datasets(self._file, all_arrays, most, activations)
            self._writer = WindowWriter(self._file, all_arrays)
            self._blocks.extend(size + self._writer.spare_bytes)

    @property
    def iterations(self) -> list[int]:
        """Those that are in the file, ascending."""
        return self._iterations

    def append(
        self, iteration: int, digest: int, arrays: memoryview, keys: npt.NDArray[np.bytes_] | None = None
    ) -> None:
        """Append an iteration, which comes after all others.

        Args:
            digest: of all weights W_t.
            arrays: the bytes of its arrays, one after the other.
            keys: of its records, where `arrays` of the constructor end with them.
        """
        with self._failures():
            self._writer.write(0, 0, arrays)
            if keys is not None:
                self._writer.write(self._digest - 1, 0, memoryview(keys.tobytes()))
            self._writer.write(self._digest, 0, memoryview(np.uint64(digest).tobytes()))
            self._writer.complete(iteration)
        self._iterations.append(iteration)

    def append_rows(
        self,
        iterations: npt.NDArray[np.int64],
        digests: npt.NDArray[np.uint64],
        columns: Iterable[npt.NDArray[np.generic]],
    ) -> None:
        """Append n iterations (n,) after all others, array by array, (n, *shape) each, the keys included."""
        with self._failures():
            self._writer.append_rows(iterations, itertools.chain(columns, [digests]))
        self._iterations += iterations.tolist()

    def append_activations(self, iterations: npt.NDArray[np.int64], stats: Sequence[npt.NDArray[np.float64]]) -> None:
        """Append statistics (S, A) of activations at S iterations, in the order of ACTIVATION_STATS."""
        with self._failures():
            group = self._file["activation"]
            for name, values in zip(ACTIVATION_STATS, stats, strict=True):
                GrowingDataset(group[name]).append(values)
            GrowingDataset(group[CHECKSUM]).append(row_checksums(iterations, iterations, *stats))
            GrowingDataset(group["iteration"]).append(iterations)

    def finish(self) -> Path | None:
        """Make the file appear under its name. Returns its path; None if it has no iteration, and there is no file."""
        if not self._iterations:
            self.abandon()
            return None
        path = self._directory / f"{self._iterations[0]}-{self._iterations[-1] + 1}.h5"
        with self._failures():
            self._writer.flush()
            for dataset in datasets(self._file["window"]):
                dataset.resize(len(self._iterations), axis=0)
            self._file.close()
            self._blocks.close()
            sync(self._part)
            os.replace(self._part, path)
            sync(self._directory)
        return path

    def abandon(self) -> None:
        """Remove what was written."""
        if self._file:
            let_go(self._file)
        with suppress(OSError):
            self._blocks.close()
        with suppress(OSError):
            self._part.unlink()
        with suppress(OSError):  # another window is in it
            self._directory.rmdir()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:
            self.abandon()
            raise RecordingFailed(str(error)) from error


def find(run: Path) -> tuple[list[Path], list[str]]:
    """List the windows of the run directory `run`, in order, and one sentence for each that is refused."""
    directory = run / DIRECTORY
    if not is_directory(directory):
        return [], []
    if directory.is_symlink():
        return [], [f"{directory}: refused: a link to another directory"]
    try:
        found = sorted((entry for entry in directory.iterdir() if _NAME.fullmatch(entry.name)), key=_start)
    except OSError as error:
        return [], [f"{directory}: {error.strerror}"]
    files = [path for path in found if is_file(path) and not path.is_symlink()]
    refused = [f"{path}: refused: not a file of this run directory" for path in found if path not in files]
    return files[:_MOST_FILES], refused


def open_window(path: Path) -> h5py.File:
    """Open a window in a file of its own for reading.

    Raises:
        RecordingError: it is damaged, or not of a structure as such files have.
    """
    try:
        file = h5py.File(path, "r", libver="latest", locking=False)
    except (OSError, RuntimeError) as error:
        raise RecordingError(f"{path}: truncated or damaged ({error})") from error
    try:
        check_window_structure(path, file)
    except BaseException:
        file.close()
        raise
    return file


def _start(path: Path) -> tuple[int, int, str]:
    found = _NAME.fullmatch(path.name)
    assert found is not None
    return int(found[1]), int(found[2]), path.name


def _free(directory: Path) -> int:
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize
