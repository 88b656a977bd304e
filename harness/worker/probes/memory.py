"""Where the numbers of Caffe's blobs lie: in the host's memory, or on a GPU (gpu.py).

On the host, pycaffe's `.data` and `.diff` are views of Caffe's own memory; nothing here writes to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from harness.recording.ring import Part
from harness.worker.probes.moments import Moments

Floats = npt.NDArray[np.float32]


class Measure(Protocol):
    """Statistics of the same blobs, again and again."""

    def measure(self) -> npt.NDArray[np.float64]:
        """(3 or 4, blobs), as `Moments` has them. The next call may overwrite it."""
        ...


class Memory(Protocol):
    """How the probes see blobs. `field` is `data` or `diff`."""

    def moments(self, what: str, blobs: Sequence[Any], field: str) -> Measure:
        """A `Measure` of `norms` or `activity`; on the host, for as long as the blobs' memory stays where it is."""
        ...

    def arrays(self, blobs: Sequence[Any], field: str) -> Sequence[Part]:
        """What the blobs hold whenever it is used; on the host, as above."""
        ...

    def read(self, blob: Any) -> Floats:
        """The data of a blob now, on the host: to be read before Caffe goes on."""
        ...

    def synchronize(self) -> None:
        """Wait until all that Caffe has begun is done: before a clock is read."""
        ...


class HostMemory:
    """The memory of a net in CPU mode."""

    def moments(self, what: str, blobs: Sequence[Any], field: str) -> Measure:
        return Moments(what, self.arrays(blobs, field))

    def arrays(self, blobs: Sequence[Any], field: str) -> list[Floats]:
        return [getattr(blob, field) for blob in blobs]

    def read(self, blob: Any) -> Floats:
        data: Floats = blob.data
        return data

    def synchronize(self) -> None:
        """On the host, Caffe comes back when it is done."""
