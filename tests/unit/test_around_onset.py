"""Numbers around an onset that tell which change may help."""

from __future__ import annotations

import numpy as np
import pytest

from harness.diagnosis.recorded.around_onset import gradient_norms, raised_rate
from harness.schemas.onset import GradientNorms

ITERATIONS = np.arange(100, 400)


@pytest.mark.parametrize(
    ("changed", "peak"),
    [
        ({}, 2.0),
        ({300: 50.0}, 50.0),
        ({302: 50.0, 303: np.nan}, 50.0),
        ({300: np.nan}, 2.0),
        ({298: 70.0, 299: np.inf, 300: np.nan}, 70.0),
        ({200: 90.0, 350: 90.0}, 2.0),
    ],
)
def test_the_gradient_near_an_onset_is_compared_with_the_one_before(changed: dict[int, float], peak: float) -> None:
    norms = np.full(len(ITERATIONS), 2.0)
    for iteration, value in changed.items():
        norms[iteration - 100] = value
    assert gradient_norms(ITERATIONS, norms, 300) == GradientNorms(2.0, peak)


def test_without_a_baseline_there_is_nothing_to_compare() -> None:
    norms = np.full(len(ITERATIONS), 2.0)
    assert gradient_norms(ITERATIONS, norms, 100) is None
    assert gradient_norms(ITERATIONS, norms, 115) is None  # of a run that explodes from the start
    assert gradient_norms(ITERATIONS, norms, 116) is not None
    assert gradient_norms(ITERATIONS[:0], norms[:0], 100) is None
    assert gradient_norms(ITERATIONS, np.zeros(len(ITERATIONS)), 300) is None
    assert gradient_norms(ITERATIONS, np.full(len(ITERATIONS), np.nan), 300) is None


def test_a_rate_that_was_raised_just_before() -> None:
    rates = np.full(len(ITERATIONS), 0.1)
    assert raised_rate(ITERATIONS, rates, 300) is None
    rates[190:] = 0.5
    assert raised_rate(ITERATIONS, rates, 300) == (0.1, 0.5)
    assert raised_rate(ITERATIONS, rates, 285) is None  # it rises after that
    assert raised_rate(ITERATIONS, rates[::-1], 300) is None
    assert raised_rate(ITERATIONS[:0], rates[:0], 300) is None
