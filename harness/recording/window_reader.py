"""Read the windows of a run: complete weights, gradients, updates and inputs of some iterations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from harness.caffe_files.layer_types import IMAGES, ROWS
from harness.caffe_files.messages import parse_text, pb
from harness.errors import BadInput, RecordingError
from harness.recording.checked_file import CheckedFile
from harness.recording.labelled import Labelled
from harness.recording.rewind_cost import Rewinds
from harness.recording.side_windows import find, open_window
from harness.recording.window_source import WindowSource
from harness.schemas.captures import ALL_CAPTURES, CAPTURES
from harness.schemas.rewind import NoRewind, Rewind
from harness.schemas.window import Window, merge


class WindowReader:
    """The windows of the recording `path`, whose open file is `file`; `live` if it is still being written.

    They are in the recording, and in files of their own beside it. Where both have an iteration, the recording counts,
    then the file that comes first.
    """

    def __init__(self, path: Path, file: h5py.File, checked: CheckedFile, live: bool) -> None:
        self._path, self._checked, self._live = path, checked, live
        self._own = WindowSource(path, file, checked, live)
        self._beside: list[WindowSource] | None = None  # opened when they are first asked for
        self._paths: list[Path] = []  # theirs, and of those that were left out
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
        source, row = self._find(group, iteration)
        return source.array(group, row, name)

    def keys(self, iteration: int) -> list[bytes]:
        """Read the LMDB keys of the records of one iteration, in order.

        Raises:
            RecordingError: the iteration is in no window, or no keys were recorded.
        """
        source, row = self._find("key", iteration)
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
        source, row = self._find("state", iteration)
        return {name: source.array("state", row, name) for name in source.names("state")}

    def rewind_cost(self, window: Window, capture: Sequence[str]) -> Rewind | NoRewind:
        """Tell what it takes to record the arrays `capture` of the iterations in `window` after the run."""
        return self._rewinds.of(window, capture)

    @cached_property
    def _rewinds(self) -> Rewinds:
        held = {t: self.window_arrays(t) for t in self.iterations.tolist()}
        return Rewinds(self._path.parent, self._checked, held, self._live)

    def refresh(self) -> None:
        """Look for files that have appeared since."""
        self.close()
        self._beside = None
        vars(self).pop("_rewinds", None)

    def close(self) -> None:
        """Close the files beside the recording."""
        for source in self._beside or []:
            source.close()

    @property
    def _sources(self) -> Sequence[WindowSource]:
        if self._beside is None:
            self._paths, self._damaged = self._files()
            self._beside = []
            for path in self._paths:
                try:
                    self._beside.append(self._open(path))
                except RecordingError as error:
                    self._damaged.append(str(error))
        return [self._own, *self._beside]

    def _files(self) -> tuple[list[Path], list[str]]:
        return find(self._path.parent) if self._path.name == "recording.h5" else ([], [])

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

    def _find(self, group: str, iteration: int) -> tuple[WindowSource, int]:
        """Find the file, and the row in it, that has `group` of an iteration."""
        found = self._of(iteration)
        having = next((place for place in found if place[0].has(group)), None)
        if having is not None:
            return having
        if not set(self._files()[0]) <= set(self._paths):  # made since then, for instance by rewind
            self.refresh()
            return self._find(group, iteration)
        there = Window(iteration, iteration + 1)
        if not found:
            others = f"; it has {', '.join(map(str, self.windows))}" if self.windows else ": it has none"
            missing, remedy = f"iteration {iteration} is in no window{others}", self.rewind_cost(there, CAPTURES)
            raise RecordingError(f"{self._path}: {missing}. {remedy}")
        if group == "key" and "input" in self.window_arrays(iteration):
            raise RecordingError(f"{self._path}: no keys were recorded: {self._why_no_keys()}")
        if group == "state":
            raise RecordingError(f"{self._path}: no state of layers was recorded")
        captured = "input" if group == "key" else group  # keys come with the inputs
        if found[0][0] is self._own:
            missing = f"no {group} was recorded; {captured} was left out of --capture"
        else:
            kinds = " and ".join(self.window_arrays(iteration))
            missing = f"no {group} was kept of iteration {iteration}, only {kinds}"
        raise RecordingError(f"{self._path}: {missing}. {self.rewind_cost(there, (captured,))}")

    def _why_no_keys(self) -> str:
        """Tell why there are no keys where the inputs were recorded."""
        try:
            layers = parse_text(str(self._checked.attributes.get("net", "")), pb.NetParameter, self._path).layer
        except BadInput as error:
            return str(error)
        if any(layer.type in IMAGES for layer in layers):
            return "which records the first data layer reads was not known when the run began"
        for layer in layers:
            if layer.type in ROWS:
                named = "report and --skip-records name rows FILE:ROW"
                return f"layer {layer.name} ({layer.type}) reads rows of files, which have no keys; {named}"
        inputs = " and ".join(f"{layer.name} ({layer.type})" for layer in layers if not layer.bottom)
        return f"its data have none; they come from layer {inputs}"
