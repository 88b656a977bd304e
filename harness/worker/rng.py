"""Access to Caffe's main random generator on the CPU, from outside.

It is a boost::mt19937 (common.cpp), whose 624 words and position are laid out in memory as numpy's. Two functions that
libcaffe exports lead there; a third is the one with which a Data layer draws its seeds. Nothing in Caffe is changed,
and `is_accessible` verifies all of this before it is used.

On a GPU, Dropout and random fillers draw from cuRAND instead, whose state cannot be read: there only `advance`
(fast_forward.py) helps. That has not run on a GPU.
"""

from __future__ import annotations

import ctypes

import caffe
import numpy as np
import numpy.typing as npt

_WORDS = 624


class _Library:
    def __init__(self) -> None:
        library = ctypes.CDLL(caffe._caffe.__file__)
        self.rand = library._ZN5caffe14caffe_rng_randEv  # caffe_rng_rand(), math_functions.cpp
        self.rand.restype = ctypes.c_uint
        self._stream = library._ZN5caffe5Caffe10rng_streamEv  # Caffe::rng_stream(), common.hpp
        self._stream.restype = ctypes.c_void_p
        self._generator = library._ZN5caffe5Caffe3RNG9generatorEv  # Caffe::RNG::generator(), common.cpp
        self._generator.restype = ctypes.c_void_p
        self._generator.argtypes = [ctypes.c_void_p]

    def state(self) -> tuple[npt.NDArray[np.uint32], ctypes.c_size_t]:
        """Return views of the generator's words and position in Caffe's memory (set_random_seed moves them)."""
        address = self._generator(self._stream())
        words = (ctypes.c_uint32 * _WORDS).from_address(address)
        return np.ctypeslib.as_array(words), ctypes.c_size_t.from_address(address + 4 * _WORDS)


def is_accessible() -> bool:
    """Check whether this build keeps its generator as described above. Call it before anything is seeded: it seeds."""
    try:
        library = _Library()
    except AttributeError:  # a build that exports fewer names
        return False
    caffe.set_random_seed(1)
    expected = np.random.MT19937()
    expected._legacy_seeding(1)
    words, position = library.state()
    for skipped in (0, 3, 2 * _WORDS):
        for _ in range(skipped):
            library.rand()
        expected.random_raw(skipped)
        state = expected.state["state"]
        # of the first word only the top bit matters, and Boost computes the others anew (mersenne_twister.hpp,
        # normalize_state)
        if (
            position.value != state["pos"]
            or (int(words[0]) ^ int(state["key"][0])) >> 31
            or not np.array_equal(words[1:], state["key"][1:])
        ):
            return False
    return bool(library.rand() == expected.random_raw())


def read_state() -> tuple[str, int]:
    """Read the generator's words in hex, and its position in them."""
    words, position = _Library().state()
    return words.astype("<u4").tobytes().hex(), position.value


def write_state(words: str, position: int) -> None:
    """Put the generator into a state that `read_state` returned."""
    memory, at = _Library().state()
    memory[:] = np.frombuffer(bytes.fromhex(words), "<u4")
    at.value = position


def draw() -> int:
    """Draw one output, as a Data layer draws its seeds. Advances the generator."""
    return int(_Library().rand())
