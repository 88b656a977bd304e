"""The arithmetic of the soak."""

from __future__ import annotations

import numpy as np
import pytest

from tools.soak import growth


def test_growth_is_that_of_a_line_in_noise() -> None:
    random = np.random.default_rng(0)
    iterations = np.linspace(0, 500_000, 200)
    noise = random.normal(0, 50_000, 200)
    slope, error = growth(iterations, 40e6 + noise)
    assert abs(slope) < 3 * error
    slope, error = growth(iterations, 40e6 + 10_240 * iterations / 1000 + noise)
    assert slope == pytest.approx(10_240, abs=3 * error)
    assert slope > 100 * error
