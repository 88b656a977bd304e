"""`Recording`: the reader of a recording, for every consumer, notebooks included."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from harness.caffe_files.paths import is_directory
from harness.errors import RecordingError
from harness.recording.hdf5_schema import datasets
from harness.recording.labelled import Labelled
from harness.recording.open_file import open_file
from harness.recording.row_reader import RowReader
from harness.recording.window_reader import WindowReader
from harness.schemas.captures import CAPTURES
from harness.schemas.layout import Alarm, Head
from harness.schemas.rewind import NoRewind, Rewind
from harness.schemas.run_info import DigestKind
from harness.schemas.window import Window


class Recording(RowReader):
    """A recording, open for reading: finished, still being written, or left behind by a process that was killed.

    In the shapes below, T is the number of recorded iterations, P of learnable param blobs, I of the blobs that data
    layers fill, A of the train net's blobs, and S of the iterations at which activation statistics were taken. Methods
    that take `rows`, a slice of positions in `iterations`, read that part only.

    Args:
        path: a recording, or the run directory that contains `recording.h5`.
        may_repair: complete the file if its writer was killed. Otherwise it is read as it is.

    Raises:
        RecordingError: no such file; not a recording; written by a newer version; truncated.

    Example:
        >>> with Recording("runs/demo") as recording:
        ...     worst = recording.stat("gradient_l2").values.max(axis=1).argmax()
        ...     iteration = recording.iterations[worst]
        ...     before = recording.weight(iteration, "conv1/7x7_s2")
        ...     after = before - recording.update(iteration, "conv1/7x7_s2")

    Attributes:
        path: the file.
        live: whether a writer still held it when it was opened; then `refresh` shows what was written since.
    """

    def __init__(self, path: str | os.PathLike[str], *, may_repair: bool = True) -> None:
        where = Path(path)
        if is_directory(where):
            where /= "recording.h5"
        super().__init__(where, *open_file(where, may_repair))
        self._windows = WindowReader(self.path, self._file, self._checked, self.live)

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        times = self.iterations
        span = f"iterations {times[0]}…{times[-1]}" if len(times) else "no iteration yet"
        windows = ", ".join(map(str, self.windows)) or "none"
        return f"<Recording {self.path}: {span}, {len(self.params)} param blobs, windows {windows}>"

    def close(self) -> None:
        """Close the files; they can be closed twice."""
        self._windows.close()
        self._file.close()

    def refresh(self) -> None:
        """Show what was written since the file was opened: while the run continues, and windows of a rewind."""
        if self.live:
            for dataset in datasets(self._file):
                dataset.id.refresh()
        self._windows.refresh()

    # -- the run ----------------------------------------------------------------------------------------------------

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the file's root, which are run.json when the recording began; nested values are JSON text."""
        return dict(self._checked.attributes)

    @property
    def heads(self) -> tuple[Head, ...]:
        """The losses of the train net with their weights and numbers of classes, without those of several values."""
        heads = self._checked.attribute("heads", tuple[Head, ...], "[]")
        paths = self._checked.names("output")
        scalars = {name for name, path in paths.items() if self._file[path].shape[1:] == (1,)}
        return tuple(head for head in heads if head.name in scalars)

    @property
    def relus(self) -> tuple[str, ...]:
        """Names of the blobs that a ReLU wrote; empty if the recording does not contain them."""
        return self._checked.attribute("relus", tuple[str, ...], "[]")

    @property
    def digest_kind(self) -> DigestKind:
        """How the weights were hashed: digests of different kinds cannot be compared.

        Raises:
            RecordingError: in a way that this version does not know.
        """
        kind = self._checked.attributes.get("digest_kind", "xxh3")  # 0.2 and older did not say it
        try:
            found: DigestKind = msgspec.convert(kind, DigestKind)
        except msgspec.ValidationError:
            raise RecordingError(f"{self.path}: its weights are hashed by {kind!r}, which is not known here") from None
        return found

    @property
    def goes_on_from(self) -> Path | None:
        """Run directory with the recording of the iterations before this one's first; None if there is none."""
        run = str(self._checked.attributes.get("goes_on_from", "null"))
        return None if run == "null" else Path(run)

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The alarms of the run in the order in which they were raised."""
        return self._checked.alarms()

    def activation(self, name: str) -> Labelled:
        """Read a statistic of every blob of the train net as RowReader does, with those that a rewind has stored."""
        return self._windows.with_activations(super().activation(name), name)

    # -- windows ----------------------------------------------------------------------------------------------------

    @property
    def windows(self) -> tuple[Window, ...]:
        """The ranges of iterations whose complete arrays are stored: what was watched, and what the black box kept."""
        return self._windows.windows

    @property
    def damaged_windows(self) -> tuple[str, ...]:
        """One sentence for each file below `windows/` that cannot be read, or is of another run, and was left out."""
        return self._windows.damaged

    @property
    def window_iterations(self) -> npt.NDArray[np.int64]:
        """(W,) the iterations whose complete arrays are stored."""
        return self._windows.iterations

    def window_arrays(self, iteration: int) -> tuple[str, ...]:
        """List what is stored of an iteration: some of weight, gradient, update, history, input, key and state.

        An iteration in no window has none.
        """
        return self._windows.window_arrays(iteration)

    def rewind_cost(self, window: Window, capture: Sequence[str] = CAPTURES) -> Rewind | NoRewind:
        """Tell what it takes to record iterations in full after the run: the command and its cost, or why it cannot be.

        Args:
            window: the iterations, all of which the run has recorded.
            capture: the kinds of arrays: some of weight, gradient, update, history and input.

        Example:
            >>> print(recording.rewind_cost(Window(300, 320)))
        """
        return self._windows.rewind_cost(window, capture)

    def weight(self, iteration: int, layer: str, index: int = 0) -> npt.NDArray[np.float32]:
        """Read W_t of one param blob, as the forward pass of `iteration` used it.

        Args:
            iteration: an iteration in a window.
            layer: name of a layer.
            index: number of the blob in that layer: 0 for the weights of most layers, 1 for the biases.

        Returns:
            float32, of the blob's shape.

        Raises:
            RecordingError: the iteration is in no window, or that blob was not recorded.
        """
        return self._windows.array("weight", iteration, f"{layer}/{index}")

    def gradient(self, iteration: int, layer: str, index: int = 0) -> npt.NDArray[np.float32]:
        """Read the raw gradient of one param blob: summed over `iter_size`, before clipping, normalisation and decay.

        Args, return value and errors are those of `weight`.
        """
        return self._windows.array("gradient", iteration, f"{layer}/{index}")

    def update(self, iteration: int, layer: str, index: int = 0) -> npt.NDArray[np.float32]:
        """Read what Caffe subtracted from one param blob: weight(t + 1) = weight(t) - update(t), bit for bit.

        This does not hold for BatchNorm's running averages: Caffe's forward pass writes them (batch_norm_layer.cpp).
        Args, return value and errors are those of `weight`.
        """
        return self._windows.array("update", iteration, f"{layer}/{index}")

    def history(self, iteration: int, layer: str, index: int = 0, slot: int = 0) -> npt.NDArray[np.float32]:
        """Read the solver's history of one param blob, with which it begins the update of `iteration`.

        It needs `--capture history`. Weights and history of an iteration are what a snapshot before it holds.

        Args:
            iteration: an iteration in a window.
            layer: name of a layer.
            index: number of the blob in that layer.
            slot: 0; of an AdaDelta solver 0 for the gradients and 1 for the updates, of Adam 0 for the first moment and
                1 for the second.

        Return value and errors are those of `weight`.
        """
        return self._windows.array("history", iteration, f"{layer}/{index}/{slot}")

    def layer_state(self, iteration: int) -> dict[str, npt.NDArray[np.float32]]:
        """Read what LSTM and RNN layers, and constants that are changed in place, begin an iteration with.

        Returns:
            the arrays by their names as in a snapshot's `layers.npz`: net/number/array/layer.

        Raises:
            RecordingError: the iteration is in no window, or the nets have no such layers.
        """
        return self._windows.layer_state(iteration)

    def input(self, iteration: int, blob: str) -> npt.NDArray[np.float32]:
        """Read a blob that a data layer wrote: images as the net saw them, or labels.

        Args:
            iteration: an iteration in a window.
            blob: name of a top of a data layer.

        Returns:
            float32, of the blob's shape; (iter_size, *shape) if the solver's `iter_size` is above 1.

        Raises:
            RecordingError: the iteration is in no window, or that blob was not recorded.
        """
        return self._windows.array("input", iteration, blob)

    def keys(self, iteration: int) -> list[bytes]:
        """Read the LMDB keys of the records of one iteration.

        Args:
            iteration: an iteration in a window.

        Returns:
            batch size × iter_size keys in order; all empty where they are not known.

        Raises:
            RecordingError: the iteration is in no window, or no keys were recorded.
        """
        return self._windows.keys(iteration)
