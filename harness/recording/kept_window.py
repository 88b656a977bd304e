"""Turn iterations of the black box into a window in a file of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from harness.recording.black_box import BlackBox, KeptIteration
from harness.recording.side_windows import SideWindow
from harness.schemas.layout import Array
from harness.schemas.window import Window


class Keys(Protocol):
    """Looks up the keys of the records of one iteration after the other."""

    def array(self) -> Array:
        """Describe the array of the keys."""
        ...

    def keys(
        self, iteration: int, inputs: Mapping[str, npt.NDArray[np.float32]]
    ) -> tuple[npt.NDArray[np.bytes_], bool]:
        """Return the keys, empty where `inputs` (by name) are not of the records that should have been read."""
        ...


class KeptWindow:
    """Takes the iterations of `window` out of `box`, as far as they are there, into the run directory `run`.

    Args:
        arrays: what the box may hold of an iteration (`Layout.kept`).
        keys: of the records, if they are known.

    Raises:
        RecordingFailed: the disk has not enough room, or it cannot be written. So do the methods.
    """

    def __init__(
        self, run: Path, box: BlackBox, arrays: Sequence[Array], window: Window, keys: Keys | None = None
    ) -> None:
        self._box, self.window, self._keys = box, window, keys
        self._version = box.version
        self._arrays = [array for array in arrays if box.has_params or array.group == "input"]
        self.has_params = box.has_params
        key = () if keys is None else (keys.array(),)
        self._side = SideWindow(run, (*self._arrays, *key), len(window))

    def take(self, last: int) -> None:
        """Append what the box has of the window now, up to the iteration `last`."""
        done = self.iterations[-1] if self.iterations else -1
        for iteration in self._box.iterations:
            found = self._box.read(iteration) if iteration in self.window and done < iteration <= last else None
            if found is not None and not self.is_outdated:
                keys = None if self._keys is None else self._keys.keys(iteration, self._inputs(found))[0]
                self._side.append(iteration, found.digest, found.arrays, keys)

    def finish(self) -> Path | None:
        """Make the file appear. Returns its path; None if it has no iteration."""
        return self._side.finish()

    @property
    def is_outdated(self) -> bool:
        """Whether the box holds other arrays than it did, so that nothing more can be taken."""
        return self._box.version != self._version

    @property
    def iterations(self) -> list[int]:
        """Those that were taken, ascending."""
        return self._side.iterations

    def _inputs(self, found: KeptIteration) -> dict[str, npt.NDArray[np.float32]]:
        inputs, start = {}, 0
        for array in self._arrays:
            if array.group == "input":
                inputs[array.name] = np.frombuffer(found.arrays[start : start + array.nbytes], np.float32)
            start += array.nbytes
        return inputs


def keep_wanted(run: Path, box: BlackBox, arrays: Sequence[Array], last: int) -> None:
    """Keep the iterations up to `last` that a supervisor had wanted before it died."""
    if box.wanted is not None:
        kept = KeptWindow(run, box, arrays, box.wanted)
        kept.take(last)
        kept.finish()
