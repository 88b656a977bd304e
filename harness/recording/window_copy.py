"""Copy iterations out of the windows of one recording into a window of another run, in a file of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from harness.atomic_write import sync
from harness.errors import RecordingFailed
from harness.recording.hdf5_schema import datasets
from harness.recording.open_file import open_file
from harness.recording.side_windows import DIRECTORY, SideWindow
from harness.schemas.captures import ALL_CAPTURES
from harness.schemas.layout import ACTIVATION_STATS, Array
from harness.schemas.window import Window

_BLOCK = 64 << 20  # bytes of an array that are copied at once
_MOST_ROWS = 64  # iterations


def copy_window(
    source: Path,
    run: Path,
    window: Window,
    groups: Collection[str],
    goes_on: Callable[[], bool] = lambda: True,
) -> Path | None:
    """Copy a window of the recording in `source` into a file below `windows/` of `run`, statistics of activations
    included.

    Args:
        source: a run directory, in which the file is written until it is complete; on the same disk.
        run: a run directory with a folder for windows.
        window: iterations that are in the recording's own windows.
        groups: the kinds of arrays that are copied, as far as they are there: some of ALL_CAPTURES, key and state.
        goes_on: called before each iteration; it ends with those before.

    Returns:
        The path of the file; None if there is nothing to copy.

    Raises:
        RecordingError: the recording cannot be read.
        RecordingFailed: there is not enough room for the file, or it cannot be written.
    """
    file, _ = open_file(source / "recording.h5", may_repair=True)
    with file:
        sources = _datasets(file, groups)
        if not sources:
            return None
        arrays = [_array(group, dataset) for group, dataset in sources]
        step = max(1, min(_MOST_ROWS, _BLOCK // max(1, *(array.nbytes for array in arrays))))
        blobs = len(file["blob"])
        side = SideWindow(source, arrays, len(window), activations=blobs, leaves_half=False)
        try:
            for start in range(window.start, window.stop, step):
                if not goes_on():
                    break
                iterations = np.arange(start, min(start + step, window.stop))
                digests = file["digest"][_rows(file["iteration"], iterations)]
                rows = _rows(file["window/iteration"], iterations)
                side.append_rows(iterations, digests, (dataset[rows] for _, dataset in sources))
            if blobs and side.iterations:
                side.append_activations(*_activations(file, side.iterations))
        except BaseException:
            side.abandon()
            raise
        written = side.finish()
    return written and _publish(written, run / DIRECTORY)


def _rows(axis: h5py.Dataset, iterations: npt.NDArray[np.int64]) -> slice:
    """Return the rows of consecutive `iterations` in a dataset of ascending ones."""
    first = int(np.searchsorted(axis[()], iterations[0]))
    return slice(first, first + len(iterations))


def _datasets(file: h5py.File, groups: Collection[str]) -> list[tuple[str, h5py.Dataset]]:
    """List the window arrays to copy, in the order in which a window has them."""
    wanted = [group for group in (*ALL_CAPTURES, "key", "state") if group in groups]
    return [(g, dataset) for g in wanted if f"window/{g}" in file for dataset in datasets(file[f"window/{g}"])]


def _activations(
    file: h5py.File, iterations: Sequence[int]
) -> tuple[npt.NDArray[np.int64], list[npt.NDArray[np.float64]]]:
    """Return the statistics of activations at `iterations`, as far as they were taken."""
    taken = file["activation/iteration"][()]
    rows = np.isin(taken, iterations)
    return taken[rows], [file[f"activation/{name}"][()][rows] for name in ACTIVATION_STATS]


def _array(group: str, dataset: h5py.Dataset) -> Array:
    return Array(group, str(dataset.attrs["name"]), None, dataset.shape[1:], np.dtype(dataset.dtype).str)


def _publish(written: Path, directory: Path) -> Path:
    """Move a complete window into `directory`, under a name that no other has there."""
    target, number = directory / written.name, 2
    while target.exists() or target.is_symlink():
        target, number = directory / f"{written.stem}.{number}.h5", number + 1
    try:
        os.replace(written, target)
        sync(directory)
    except OSError as error:
        raise RecordingFailed(f"{target}: {error.strerror}") from error
    return target
