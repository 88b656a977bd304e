"""The arithmetic of the benchmarks."""

from __future__ import annotations

import numpy as np
import pytest

from tools.bench.memory import Memory
from tools.bench.restart import Replay
from tools.bench.rows import Row, median, ratio_row
from tools.bench.turns import Comparison


def test_a_ratio_is_the_median_over_neighbouring_turns() -> None:
    row = ratio_row("x", "", 1.05, Comparison(10, (1.0, 2.0, 4.0), (1.1, 2.0, 4.8), 7.0, 7.7))
    assert row.value == pytest.approx(1.1)
    assert row.low == pytest.approx(1.0)
    assert row.high == pytest.approx(1.2)
    assert not row.holds
    assert row.verdict == "NO?"
    assert "bare 200.0 ms an iteration; 3 pairs of 10; two bare turns differ by 100.0%; CPU time ×1.100" in row.detail


def test_the_interval_narrows_with_the_pairs() -> None:
    assert median(range(5)) == (0, 2.0, 4)
    assert median(range(20)) == (5, 9.5, 14)


@pytest.mark.parametrize(("value", "at_most", "holds"), [(1.0, True, True), (1.1, True, False), (1.1, False, True)])
def test_a_bound_is_from_above_or_from_below(value: float, at_most: bool, holds: bool) -> None:
    assert Row("x", "", value, "", 1.05, at_most).holds is holds


def test_a_row_without_a_bound_holds() -> None:
    row = Row("x", "", 9.0, "s")
    assert row.holds
    assert row.verdict == ""


def test_the_cost_of_a_replay_per_iteration() -> None:
    replay = Replay(iterations=100, iteration=0.5, seconds=3.0, built=1.0)
    assert replay.share == pytest.approx(0.06)
    assert replay.each == pytest.approx(0.02)


def test_growth_is_the_slope_after_the_first_half() -> None:
    iterations = np.arange(1000, 20_001, 1000)
    warm = np.where(iterations < 8000, 0, 50_000_000)
    memory = Memory(iterations, warm + 3 * iterations, warm, 0)
    assert memory.growth(memory.solver) == pytest.approx(3000)
    assert memory.worst == pytest.approx(3000)
