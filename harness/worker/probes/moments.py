"""Norms and activity of many float32 blobs in one call (moments.c, which `tools/setup` compiles)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

_WIDTH = {"norms": 3, "activity": 4}


class Moments:
    """Statistics of the same arrays, again and again: `measure` reads what they hold at that time.

    Args:
        what: `norms` (l2 norm, largest magnitude, NaN or infinite values), or `activity` (mean magnitude, largest
            magnitude, share of zeros, NaN or infinite values).
        arrays: contiguous float32 arrays that stay where they are for as long as this is used.
    """

    def __init__(self, what: str, arrays: Sequence[npt.NDArray[np.float32]]) -> None:
        library = ctypes.CDLL(str(Path(__file__).with_name("_moments.so")))
        self._function = getattr(library, what)
        self._arrays = list(arrays)  # keeps the memory alive
        self._pointers = np.array([a.ctypes.data for a in arrays], np.uintp)
        self._counts = np.array([a.size for a in arrays], np.int64)
        self._out = np.empty((_WIDTH[what], len(arrays)), np.float64)
        self._arguments = (
            self._pointers.ctypes.data_as(ctypes.c_void_p),
            self._counts.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(len(arrays)),
            self._out.ctypes.data_as(ctypes.c_void_p),
        )

    def measure(self) -> npt.NDArray[np.float64]:
        """(3 or 4, arrays): one column an array. The next call overwrites it."""
        self._function(*self._arguments)
        return self._out
