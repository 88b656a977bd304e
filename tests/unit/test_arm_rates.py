"""Learning rates of arms."""

from __future__ import annotations

import pytest

from harness.caffe_files.lr_policy import learning_rate
from harness.caffe_files.messages import pb
from harness.schemas.arm import RateHeld, RateScaled
from harness.worker.arms.rates import rates


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_where_the_run_had_ended_the_rate_of_poly_stays_zero(power: float) -> None:
    """Caffe's formula gives NaN, negative rates, or rates that rise again."""
    solver = pb.SolverParameter(base_lr=0.1, lr_policy="poly", power=power, max_iter=10)
    found = list(rates(solver, 7, 14, 0, (), 10))
    assert found == [*(learning_rate(solver, t, 0) for t in (7, 8, 9)), 0, 0, 0, 0]
    held = list(rates(solver, 7, 14, 0, (RateHeld(9, 0.5), RateScaled(2, 12)), 10))
    assert held[2:] == [0.5, 0.5, 0.5, 1, 1]


def test_a_run_that_went_beyond_max_iter_had_the_rates_of_caffe() -> None:
    solver = pb.SolverParameter(base_lr=0.1, lr_policy="poly", power=1, max_iter=10)
    found = list(rates(solver, 11, 14, 0, (), 13))
    assert found == pytest.approx([-0.01, -0.02, 0])
    assert found[:2] == [learning_rate(solver, t, 0) for t in (11, 12)]
