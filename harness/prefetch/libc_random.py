"""The C library's rand(), from which HDF5Data layers with `shuffle` draw, and the shuffle that they make of it.

std::random_shuffle (libstdc++'s stl_algo.h) draws from rand(), not from Caffe's generator: `random_seed` does not
affect it, nothing in Caffe seeds it, and all layers of a process share it. It is glibc's additive feedback generator of
31 words (random_r.c, TYPE_3).
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

_WORDS = 31
_DISCARDED = 310  # outputs, when it is seeded


class LibcRandom:
    """A generator like rand() of glibc, in the state that `state` returned; None for that of a new process (seed 1)."""

    def __init__(self, state: str | None = None) -> None:
        if state is None:
            words = [1]
            while len(words) < _WORDS:
                words.append(16807 * words[-1] % 0x7FFFFFFF)
            self._state = np.array([*words, 0], np.uint32)  # the words, and the number of the oldest
            self._call("libc_discard", _DISCARDED)
        else:
            self._state = np.frombuffer(bytes.fromhex(state), "<u4").astype(np.uint32)

    @property
    def state(self) -> str:
        """The state: 31 words and a position in them, uint32, little endian, in hex."""
        return self._state.astype("<u4").tobytes().hex()

    def shuffle(self, order: npt.NDArray[np.int32]) -> None:
        """Shuffle `order` (n,) in place as std::random_shuffle does."""
        self._call("libc_shuffle", order.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(len(order)))

    def _call(self, name: str, *arguments: object) -> None:
        getattr(_library(), name)(self._state.ctypes.data_as(ctypes.c_void_p), *arguments)


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(str(Path(__file__).with_name("_shuffle.so")))
