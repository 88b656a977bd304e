"""Round the mantissas of float32 numbers, so that they compress better."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MANTISSA = 23  # bits of the mantissa of a float32


def rounded(values: npt.NDArray[np.float32], bits: int) -> npt.NDArray[np.float32]:
    """Round mantissas to `bits` (0 … 23) after the point, half away from zero; what is not finite stays."""
    if bits >= MANTISSA:
        return values
    drop = MANTISSA - bits
    words = values.view(np.uint32)
    half, mask = np.uint32(1 << (drop - 1)), np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    finite = np.isfinite(values) & (np.abs(values) < np.finfo(np.float32).max / 2)  # rounding up must not overflow
    return np.asarray(np.where(finite, (words + half) & mask, words).view(np.float32))
