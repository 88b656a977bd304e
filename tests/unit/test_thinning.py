"""Thinning of series: fewer points, with every spike among them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.diagnosis.recorded.thinning import extremes, largest, shares

numbers = st.lists(st.floats(width=32), min_size=1, max_size=300)


@given(numbers, st.integers(4, 80))
def test_maxima_minima_and_non_finite_values_survive(values: list[float], most: int) -> None:
    series = np.array(values)
    rows = extremes(series, most)
    assert rows[0] == 0
    assert rows[-1] == len(series) - 1
    assert np.all(np.diff(rows) > 0)
    assert len(rows) <= max(most, 3 * (most // 2) + 2)
    finite = np.isfinite(series)
    if finite.any():
        assert series[finite].max() in series[rows]
        assert series[finite].min() in series[rows]
    assert finite.all() == np.isfinite(series[rows]).all()


@given(numbers, st.integers(1, 40))
def test_the_largest_of_each_share_is_kept(values: list[float], most: int) -> None:
    starts = shares(len(values), most)
    assert len(starts) == min(len(values), most)
    found = largest(np.array(values)[:, None], starts)[:, 0]
    for start, stop, most_of in zip(starts, [*starts[1:], len(values)], found, strict=True):
        part = [np.inf if np.isnan(value) else value for value in values[start:stop]]
        assert most_of == max(part)
