"""Histograms of arrays that come in parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.diagnosis.recorded.histogram import BINS, histogram, merged

FLOATS = arrays(np.float32, st.integers(0, 200), elements=st.floats(width=32))


@given(st.lists(FLOATS, max_size=4))
def test_a_histogram_counts_every_finite_element_once(parts: list[np.ndarray]) -> None:
    whole = np.concatenate([np.empty(0, np.float32), *parts])
    finite = whole[np.isfinite(whole)]
    with np.errstate(all="raise", under="ignore"):
        found = merged([part for part in map(histogram, parts) if part is not None])
    if not finite.size:
        assert found is None
        return
    assert found is not None
    assert (found.low, found.high) == (finite.min(), finite.max())
    assert found.limits[-1] == found.high
    assert len(found.counts) in (1, BINS)
    assert found.counts.min() >= 0
    assert found.counts.sum() == pytest.approx(finite.size)
