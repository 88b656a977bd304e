"""One file with windows: the group /window of a recording, or of a window in a file of its own."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from harness.errors import RecordingError, nearest
from harness.recording.checked_file import CheckedFile
from harness.recording.hdf5_schema import datasets


class WindowSource:
    """The windows in `path`, whose open file is `file`; `live` if it is still being written.

    Its methods raise RecordingError where the file is damaged.
    """

    def __init__(self, path: Path, file: h5py.File, checked: CheckedFile, live: bool) -> None:
        self._path, self._file, self._checked, self._live = path, file, checked, live
        self.rows: int | None = None  # that count; None: all
        self._links: dict[str, dict[str, str]] = {}  # of each group, the dataset of each name: none is added later

    @property
    def iterations(self) -> npt.NDArray[np.int64]:
        """(W,) the iterations whose arrays are complete."""
        if self._live:  # it may be read between two datasets of the same row
            grown = datasets(self._file["window"]) if "window" in self._file else []
            return self._read_iterations(min((d.shape[0] for d in grown), default=0))
        return self._all_iterations[: self.rows]

    @cached_property
    def _all_iterations(self) -> npt.NDArray[np.int64]:
        return self._read_iterations(len(self._file["window/iteration"]) if "window" in self._file else 0)

    def _read_iterations(self, count: int) -> npt.NDArray[np.int64]:
        return self._checked.rows("window/iteration", slice(0, count)) if count else np.empty(0, np.int64)

    @property
    def digests(self) -> npt.NDArray[np.uint64]:
        """(W,) the digests of the weights, which only a window in a file of its own has."""
        return self._checked.rows("window/digest", slice(0, len(self.iterations)))

    def has(self, group: str) -> bool:
        """Check whether arrays of `group`, one of ALL_CAPTURES, state or key, are kept."""
        return f"window/{group}" in self._file

    def names(self, group: str) -> dict[str, str]:
        """Map the name of each array of `group` to its dataset."""
        if group not in self._links:
            self._links[group] = self._checked.names(f"window/{group}")
        return self._links[group]

    def array(self, group: str, row: int, name: str) -> npt.NDArray[np.float32]:
        """Read an array: of a param blob, whose `name` is `layer/index` (`/slot` for history), or of an input blob."""
        names = self.names(group)
        if name not in names:
            raise RecordingError(f"{self._path}: no {group} of {name!r}. {nearest(name, names)}")
        values: npt.NDArray[np.float32] = self._row(names[name], row)
        return values

    def keys(self, row: int) -> list[bytes]:
        """Read the LMDB keys of the records, in order."""
        return [bytes(key) for key in self._row("window/key", row)]

    def activation(self, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Read a statistic of activations: (S,) iterations and (S, A) values; a window may have none of them."""
        if self._live or "activation" not in self._file:
            return np.empty(0, np.int64), np.empty((0, 0))
        rows = slice(0, len(self._file["activation/iteration"]))
        iterations, values = (self._checked.rows(f"activation/{part}", rows) for part in ("iteration", name))
        return iterations, values

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _row(self, name: str, row: int) -> Any:
        return self._checked.rows(name, slice(row, row + 1))[0]
