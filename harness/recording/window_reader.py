"""Read the windows of a run: complete weights, gradients, updates and inputs of some iterations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from harness.errors import RecordingError
from harness.recording.checked_file import CheckedFile
from harness.recording.labelled import Labelled
from harness.recording.side_windows import find, open_window
from harness.recording.window_source import WindowSource
from harness.schemas.layout import ALL_CAPTURES
from harness.schemas.window import Window, merge


class WindowReader:
    """The windows of the recording `path`, whose open file is `file`; `live` if it is still being written.

    They are in the recording, and in files of their own beside it. Where both have an iteration, the recording counts,
    then the file that comes first.
    """

    def __init__(self, path: Path, file: h5py.File, checked: CheckedFile, live: bool) -> None:
        self._path, self._checked = path, checked
        self._own = WindowSource(path, file, checked, live)
        self._beside: list[WindowSource] | None = None  # opened when they are first asked for
        self._damaged: list[str] = []

    @property
    def iterations(self) -> npt.NDArray[np.int64]:
        """(W,) the iterations whose complete arrays are stored, ascending."""
        return np.unique(np.concatenate([source.iterations for source in self._sources]))

    @property
    def windows(self) -> tuple[Window, ...]:
        """The same iterations as ranges."""
        return merge(Window(int(t), int(t) + 1) for t in self.iterations)

    @property
    def damaged(self) -> tuple[str, ...]:
        """One sentence for each file that was left out."""
        return tuple(self._damaged) if self._sources else ()

    def window_arrays(self, iteration: int) -> tuple[str, ...]:
        """List the kinds of arrays that are stored of an iteration: some of ALL_CAPTURES, key and state."""
        sources = [source for source, _ in self._of(iteration)]
        return tuple(group for group in (*ALL_CAPTURES, "key", "state") if any(source.has(group) for source in sources))

    def array(self, group: str, iteration: int, name: str) -> npt.NDArray[np.float32]:
        """Read one array.

        Args:
            group: one of ALL_CAPTURES.
            iteration: an iteration in a window.
            name: `layer/index` of a param blob (`layer/index/slot` of history), or the name of an input blob.

        Raises:
            RecordingError: the iteration is in no window, or that array was not recorded.
        """
        source, row = self._find(group, iteration, f"no {group} was recorded; it was left out of --capture")
        return source.array(group, row, name)

    def keys(self, iteration: int) -> list[bytes]:
        """Read the LMDB keys of the records of one iteration, in order.

        Raises:
            RecordingError: the iteration is in no window, or no keys were recorded.
        """
        missing = "no keys were recorded; they need --capture input and a Data layer on LMDB"
        source, row = self._find("key", iteration, missing)
        return source.keys(row)

    def with_activations(self, recorded: Labelled, name: str) -> Labelled:
        """Return the statistic `name` of activations as `recorded`, with those in files of their own."""
        iterations, values = [recorded.iterations], [recorded.values]
        for source in self._sources[1:]:
            try:
                taken, found = source.activation(name)
            except RecordingError:  # damaged: the recording itself has the others
                continue
            new = ~np.isin(taken, np.concatenate(iterations))
            if new.any() and found.shape[1:] == recorded.values.shape[1:]:
                iterations.append(taken[new])
                values.append(found[new])
        if len(iterations) == 1:
            return recorded
        order = np.argsort(np.concatenate(iterations), kind="stable")
        times, rows = np.concatenate(iterations)[order], np.concatenate(values)[order]
        return replace(recorded, values=rows, iterations=times)

    def layer_state(self, iteration: int) -> dict[str, npt.NDArray[np.float32]]:
        """Read the state that layers keep outside their params, by name.

        Raises:
            RecordingError: the iteration is in no window, or none was recorded.
        """
        source, row = self._find("state", iteration, "no state of layers was recorded")
        return {name: source.array("state", row, name) for name in source.names("state")}

    def refresh(self) -> None:
        """Look for files that have appeared since."""
        self.close()
        self._beside = None

    def close(self) -> None:
        """Close the files beside the recording."""
        for source in self._beside or []:
            source.close()

    @property
    def _sources(self) -> Sequence[WindowSource]:
        if self._beside is None:
            paths, self._damaged = find(self._path.parent) if self._path.name == "recording.h5" else ([], [])
            self._beside = []
            for path in paths:
                try:
                    self._beside.append(self._open(path))
                except RecordingError as error:
                    self._damaged.append(str(error))
        return [self._own, *self._beside]

    def _open(self, path: Path) -> WindowSource:
        file = open_window(path)
        try:
            source = WindowSource(path, file, CheckedFile(path, file, live=False), live=False)
            self._check_digests(path, source)
        except BaseException:
            file.close()
            raise
        return source

    def _check_digests(self, path: Path, source: WindowSource) -> None:
        """Check that the weights in the file `source` are those of the recording."""
        recorded = self._checked.rows("iteration", slice(0, self._checked.count()))
        kept, digests = source.iterations, source.digests
        source.rows = int((kept <= np.max(recorded, initial=-1)).sum())  # a power failure may have taken the rest
        kept, digests = kept[: source.rows], digests[: source.rows]
        rows = np.searchsorted(recorded, kept)
        if not len(kept) or np.any(np.diff(kept) <= 0) or np.any(recorded[rows] != kept):
            raise RecordingError(f"{path}: damaged, or of another run: it has iterations that the recording has not")
        first, stop = int(rows[0]), int(rows[-1]) + 1
        other = kept[self._checked.rows("digest", slice(first, stop))[rows - first] != digests]
        if len(other):
            raise RecordingError(f"{path}: of another run: iteration {other[0]} was recorded with other weights")

    def _of(self, iteration: int) -> list[tuple[WindowSource, int]]:
        """List the files that have an iteration, with its row in each."""
        found = []
        for source in self._sources:
            rows = np.flatnonzero(source.iterations == iteration)
            found += [(source, int(rows[0]))] if len(rows) else []
        return found

    def _find(self, group: str, iteration: int, missing: str) -> tuple[WindowSource, int]:
        """Find the file, and the row in it, that has `group` of an iteration; `missing` says that none has it."""
        found = self._of(iteration)
        if not found:
            has = ", ".join(map(str, self.windows)) or "no window at all: run with --watch A:B"
            raise RecordingError(f"{self._path}: iteration {iteration} is in no window; it has {has}")
        having = next((place for place in found if place[0].has(group)), None)
        if having is None:
            if found[0][0] is not self._own:
                missing = (
                    f"no {group} was kept of iteration {iteration}, only {' and '.join(self.window_arrays(iteration))}"
                )
            raise RecordingError(f"{self._path}: {missing}")
        return having
