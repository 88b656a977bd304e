"""Access to the numbers of Caffe's blobs, in the host's memory or on a GPU (gpu.py).

On the host, pycaffe's `.data` and `.diff` are views of Caffe's own memory; nothing here writes to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from harness.recording.ring import Part
from harness.worker.probes.moments import Moments, Statistics, WeightMoments
from harness.worker.pycaffe import Blob, Field, Floats


class Measurement(Protocol):
    """Statistics of the same blobs, taken again and again."""

    def measure(self) -> npt.NDArray[np.float64]:
        """Compute (3 or 4, blobs) statistics, as `Moments` does. The next call may overwrite the result."""
        ...


class WeightMeasurement(Protocol):
    """Norms and digest of the same weights, taken again and again."""

    def measure(self) -> tuple[npt.NDArray[np.float64], int]:
        """Compute (3, blobs) norms, as `Moments` does, and the digest. The next call may overwrite the norms."""
        ...


class Memory(Protocol):
    """Access of probes to the blobs of a net."""

    def moments(self, statistics: Statistics, blobs: Sequence[Blob], field: Field) -> Measurement:
        """Prepare statistics of blobs; on the host, valid for as long as the blobs' memory stays where it is."""
        ...

    def weights(self, blobs: Sequence[Blob]) -> WeightMeasurement:
        """Prepare norms of all learnable blobs, and their digest of kind "multilinear"; on the host, valid as above."""
        ...

    def arrays(self, blobs: Sequence[Blob], field: Field) -> Sequence[Part]:
        """List arrays of what the blobs contain whenever they are used; on the host, valid as above."""
        ...

    def read(self, blob: Blob) -> Floats:
        """Read the data of a blob on the host; use the result before Caffe continues."""
        ...

    def synchronize(self) -> None:
        """Wait until everything that Caffe has started is done, before a clock is read."""
        ...


class HostMemory:
    """The memory of a net in CPU mode."""

    def moments(self, statistics: Statistics, blobs: Sequence[Blob], field: Field) -> Measurement:
        return Moments(statistics, self.arrays(blobs, field))

    def weights(self, blobs: Sequence[Blob]) -> WeightMeasurement:
        return WeightMoments(self.arrays(blobs, "data"))

    def arrays(self, blobs: Sequence[Blob], field: Field) -> list[Floats]:
        return [blob.data if field == "data" else blob.diff for blob in blobs]

    def read(self, blob: Blob) -> Floats:
        return blob.data

    def synchronize(self) -> None:
        """Do nothing: on the host, Caffe returns when it is done."""
