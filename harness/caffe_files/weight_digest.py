"""Digests of weights: by them, runs are compared, and snapshots recognized.

`multilinear` is a sum over all elements of all learnable blobs, in the order of `/param`, modulo 2^64, and so does not
depend on the order in which threads compute it:

    mixed(N) + Σ key(p) · x(p)        for p = 0 … N - 1
    key(p) = s(p mod 1024) · s(1024 + ⌊p / 1024⌋)
    s(n)   = mixed((n + 1) · 0x9e3779b97f4a7c15) | 1

where N is the number of elements, x(p) the bits of element p as an integer, p counts through all blobs, and

    mixed(z): z := (z ⊕ z >> 30) · 0xbf58476d1ce4e5b9; z := (z ⊕ z >> 27) · 0x94d049bb133111eb; z ⊕ z >> 31

is the finalizer of SplitMix64, so that s(n) is its output n with seed 0 (Steele, Lea, Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014), made odd. The sum is the hash "multilinear" of Lemire and Kaser
("Strongly universal string hashing is fast", The Computer Journal 57, 2014), with all its 64 bits, and with computed
keys.

Keys are odd, so a change of one element always changes the digest. Taking keys as random, other changes cancel out with
a probability of at most 2^(v-56), where v is the number of lowest bits that are equal before and after in all elements:
0 where a last bit changes, 31 where nothing but signs do. It is no protection from those who want a collision.

`xxh3` is XXH3-64 over the bytes of these blobs: what versions before 0.3.0 recorded.

The worker computes the same where the weights are (probes/moments.c, probes/moments.cu).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
import numpy.typing as npt
import xxhash

from harness.schemas.run_info import DigestKind

_Integers = npt.NDArray[np.uint64]
_ROW = 1024
_ROWS = 64  # computed at a time
_2_64 = 1 << 64


def digest_of(arrays: Iterable[npt.NDArray[np.float32]], kind: DigestKind) -> int:
    """Compute the digest of weights, given blob by blob."""
    return _xxh3(arrays) if kind == "xxh3" else _multilinear(arrays)


def _xxh3(arrays: Iterable[npt.NDArray[np.float32]]) -> int:
    state = xxhash.xxh3_64()
    for array in arrays:
        state.update(np.ascontiguousarray(array).data)
    return int(state.intdigest())


def _multilinear(arrays: Iterable[npt.NDArray[np.float32]]) -> int:
    total, position = 0, 0
    for array in arrays:
        bits = np.ascontiguousarray(array).reshape(-1).view(np.uint32)
        for start in range(0, len(bits), _ROW * _ROWS):
            part = bits[start : start + _ROW * _ROWS]
            total += _part(part, position)
            position += len(part)
    return with_length(total, position)


def with_length(total: int, elements: int) -> int:
    """Complete the sum over all `elements` to the digest "multilinear"."""
    return (total + int(_mixed(np.array([elements], np.uint64))[0])) % _2_64


def _part(bits: npt.NDArray[np.uint32], position: int) -> int:
    """Sum up key · bits of the elements from `position` on."""
    row, place = divmod(position, _ROW)
    rows = -(-(place + len(bits)) // _ROW)
    elements = np.zeros((rows, _ROW), np.uint64)  # a zero adds nothing
    elements.reshape(-1)[place : place + len(bits)] = bits
    sums = (elements * _place_keys()).sum(axis=1, dtype=np.uint64)
    return int((sums * _keys(np.arange(_ROW + row, _ROW + row + rows, dtype=np.uint64))).sum(dtype=np.uint64))


@cache
def _place_keys() -> _Integers:
    return _keys(np.arange(_ROW, dtype=np.uint64))


def _keys(n: _Integers) -> _Integers:
    return _mixed((n + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)) | np.uint64(1)


def _mixed(z: _Integers) -> _Integers:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
