"""Read the windows of a recording: complete weights, gradients, updates and inputs of some iterations."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from harness.errors import RecordingError, nearest
from harness.recording.checked_file import CheckedFile
from harness.recording.hdf5_schema import datasets
from harness.schemas.window import Window, merge


class WindowReader:
    """The group /window of the recording `path`, whose open file is `file`; `live` if it is still being written."""

    def __init__(self, path: Path, file: h5py.File, checked: CheckedFile, live: bool) -> None:
        self._path, self._file, self._checked, self._live = path, file, checked, live
        self._links: dict[str, dict[str, str]] = {}  # of each group, the dataset of each name: none is added later

    @property
    def iterations(self) -> npt.NDArray[np.int64]:
        """(W,) the iterations whose arrays are complete."""
        if "window" not in self._file:
            return np.empty(0, np.int64)
        # a live file may be read between two datasets of the same row
        grown = datasets(self._file["window"]) if self._live else [self._file["window/iteration"]]
        return self._checked.rows("window/iteration", slice(0, min(d.shape[0] for d in grown)))

    @property
    def windows(self) -> tuple[Window, ...]:
        """The same iterations as ranges."""
        return merge(Window(int(t), int(t) + 1) for t in self.iterations)

    def array(self, group: str, iteration: int, name: str) -> npt.NDArray[np.float32]:
        """Read one array.

        Args:
            group: weight, gradient, update or input.
            iteration: an iteration in a window.
            name: `layer/index` of a param blob, or the name of an input blob.

        Raises:
            RecordingError: the iteration is in no window, or that array was not recorded.
        """
        row = self._row(iteration)
        if group not in self._file["window"]:
            raise RecordingError(f"{self._path}: no {group} was recorded; it was left out of --capture")
        if group not in self._links:
            self._links[group] = self._checked.names(f"window/{group}")
        names = self._links[group]
        if name not in names:
            raise RecordingError(f"{self._path}: no {group} of {name!r}. {nearest(name, names)}")
        values: npt.NDArray[np.float32] = self._checked.rows(names[name], slice(row, row + 1))[0]
        return values

    def keys(self, iteration: int) -> list[bytes]:
        """Read the LMDB keys of the records of one iteration, in order.

        Raises:
            RecordingError: the iteration is in no window, or no keys were recorded.
        """
        row = self._row(iteration)
        if "window/key" not in self._file:
            raise RecordingError(
                f"{self._path}: no keys were recorded; they need --capture input and a Data layer on LMDB"
            )
        return [bytes(key) for key in self._checked.rows("window/key", slice(row, row + 1))[0]]

    def _row(self, iteration: int) -> int:
        rows = np.flatnonzero(self.iterations == iteration)
        if not len(rows):
            has = ", ".join(map(str, self.windows)) or "no window at all: run with --watch A:B"
            raise RecordingError(f"{self._path}: iteration {iteration} is in no window; it has {has}")
        return int(rows[0])
