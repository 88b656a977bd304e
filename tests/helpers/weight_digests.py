"""The digest of weights as docs/file-format.md defines it, for all elements at once: an independent oracle."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.uint64]


def expected_digest(blobs: Iterable[bytes]) -> int:
    """Compute the digest of the weights in all learnable blobs, given as the bytes of each."""
    bits = np.frombuffer(b"".join(blobs), np.uint32)
    p = np.arange(len(bits), dtype=np.uint64)
    total = (keys(p % np.uint64(1024)) * keys(1024 + p // np.uint64(1024)) * bits).sum(dtype=np.uint64)
    return (int(total) + int(mixed(np.array([len(bits)], np.uint64))[0])) % 2**64


def keys(n: Integers) -> Integers:
    return mixed((n + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)) | np.uint64(1)


def mixed(z: Integers) -> Integers:
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> np.uint64(31)
