"""Norms, activity and digest of many float32 blobs in one call (moments.c, compiled by `tools/setup`)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

# Functions of moments.c. norms: l2 norm, largest magnitude, NaN or infinite values. activity: mean magnitude, largest
# magnitude, share of zeros, NaN or infinite values. range: smallest value, largest value, mean magnitude, NaN or
# infinite values.
Statistics = Literal["norms", "activity", "range"]
ROWS: dict[Statistics, int] = {"norms": 3, "activity": 4, "range": 4}


@cache
def _library() -> ctypes.CDLL:
    path = Path(__file__).with_name("_moments.so")
    library = ctypes.CDLL(str(path))
    if not hasattr(library, "weights"):
        raise RuntimeError(f"{path} was compiled from an older moments.c: run tools/setup")
    library.weights.restype = ctypes.c_uint64
    return library


class Moments:
    """Statistics of the same arrays, taken again and again: `measure` reads what they contain at that time.

    Args:
        statistics: which ones, see `Statistics`.
        arrays: contiguous float32 arrays whose memory stays where it is for as long as this is used.
    """

    def __init__(self, statistics: Statistics, arrays: Sequence[npt.NDArray[np.float32]]) -> None:
        self._call = getattr(_library(), statistics)
        self._arrays = list(arrays)  # keeps the memory alive
        self._pointers = np.array([a.ctypes.data for a in arrays], np.uintp)
        self._counts = np.array([a.size for a in arrays], np.int64)
        self.out = np.empty((ROWS[statistics], len(arrays)), np.float64)
        self.arguments = (
            self._pointers.ctypes.data_as(ctypes.c_void_p),
            self._counts.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(len(arrays)),
            self.out.ctypes.data_as(ctypes.c_void_p),
        )

    def measure(self) -> npt.NDArray[np.float64]:
        """Compute (3 or 4, arrays) statistics, one column an array. The next call overwrites the result."""
        self._call(*self.arguments)
        return self.out


class WeightMoments:
    """The norms of weights and their digest of kind "multilinear", in one pass over the memory; see `Moments`."""

    def __init__(self, arrays: Sequence[npt.NDArray[np.float32]]) -> None:
        self._norms = Moments("norms", arrays)

    def measure(self) -> tuple[npt.NDArray[np.float64], int]:
        """Compute (3, arrays) norms, one column an array, and the digest. The next call overwrites the norms."""
        digest = _library().weights(*self._norms.arguments)
        return self._norms.out, digest
