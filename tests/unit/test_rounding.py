"""Rounding of mantissas: near, with few bits, and never to infinity."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.rounding import MANTISSA, rounded

floats = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)


@given(st.lists(floats, max_size=50), st.integers(0, MANTISSA + 2))
def test_rounded_numbers_are_near_and_have_few_bits(values: list[float], bits: int) -> None:
    array = np.array(values, np.float32)
    found = rounded(array, bits)
    usual = np.abs(array) < np.finfo(np.float32).max / 2
    near = np.abs(found.astype(np.float64) - array) <= np.abs(array.astype(np.float64)) * 2.0 ** -(bits + 1)
    assert near[usual].all()
    assert np.array_equal(found[~usual], array[~usual])
    if bits < MANTISSA:
        assert not (found[usual].view(np.uint32) & ((1 << (MANTISSA - bits)) - 1)).any()


def test_what_is_not_finite_stays() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, np.finfo(np.float32).max, -0.0, 0.0], np.float32)
    assert rounded(odd, 3).tobytes() == odd.tobytes()
