"""Shared memory for one batch, which the prefetch process fills and the worker reads."""

from __future__ import annotations

import mmap
import os
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
BatchShape = tuple[int, int, int, int]  # images, channels, height, width

_FLOAT = 4  # bytes


class Batch(Protocol):
    """Memory for one batch."""

    def arrays(self, shape: BatchShape) -> tuple[Floats, Floats]:
        """Return images float32 of `shape` and labels float32 (images,) in that memory."""
        ...


class SharedBatch:
    """Memory for one batch in the anonymous file `fd` (memfd): its images, followed by its labels."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map: mmap.mmap | None = None

    def arrays(self, shape: BatchShape) -> tuple[Floats, Floats]:
        """Return images float32 of `shape` and labels float32 (images,) in the shared memory, which grows as needed."""
        count = int(np.prod(shape))
        size = _FLOAT * (count + shape[0])
        if self._map is None or len(self._map) < size:
            if os.fstat(self.fd).st_size < size:
                os.ftruncate(self.fd, size)
            self._map = mmap.mmap(self.fd, 0)  # the old one stays mapped as long as an array uses it
        values = np.frombuffer(self._map, np.float32, count + shape[0])
        return values[:count].reshape(shape), values[count:]
