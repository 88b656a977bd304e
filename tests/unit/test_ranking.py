"""Places of runs, by their results."""

from __future__ import annotations

import math

import pytest

from harness.diagnosis.ranking import Result, rank


def result(level: float, *, broke: bool = False, tested: int | None = None, test_loss: float | None = None) -> Result:
    return Result(broke, level, 40, tested, {}, (), test_loss)


@pytest.mark.parametrize(
    ("results", "places"),
    [
        ([result(2.0), result(1.0)], (2, 1)),
        ([result(2.0), result(1.0, broke=True)], (1, 2)),
        ([result(1.0), result(1.0), result(3.0)], (1, 1, 2)),
        ([result(math.nan), result(9.0)], (2, 1)),
        ([], ()),
    ],
)
def test_runs_that_broke_come_last_then_the_loss_counts(results: list[Result], places: tuple[int, ...]) -> None:
    found = rank(results)
    assert found.places == places
    assert "the median loss of the last" in found.criterion


def test_the_test_loss_counts_if_all_were_tested_at_the_same_iteration() -> None:
    a, b = result(1.0, tested=800, test_loss=0.9), result(2.0, tested=800, test_loss=0.7)
    found = rank([a, b])
    assert found.places == (2, 1)
    assert found.criterion.endswith("then the test loss at iteration 800 counts")
    later = result(2.0, tested=900, test_loss=0.7)
    assert rank([a, later]).places == (1, 2)
