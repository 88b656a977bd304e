"""Learning rate policies."""

from __future__ import annotations

import math
import time

import pytest

from harness.caffe_files.lr_policy import OddRates, learning_rate, next_step, odd_rates
from harness.caffe_files.messages import pb
from harness.errors import BadInput


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(BadInput, match=r"lr_policy = multstep: no such policy. Did you mean multistep"):
        learning_rate(pb.SolverParameter(lr_policy="multstep"), 3, 0)


@pytest.mark.parametrize("first", [0, 3, 37])
@pytest.mark.parametrize(
    "fields",
    [
        {"lr_policy": "fixed"},
        {"lr_policy": "exp"},
        {"lr_policy": "exp", "gamma": 1e-9},
        {"lr_policy": "exp", "gamma": 1e7},
        {"lr_policy": "step", "gamma": 1e-20, "stepsize": 7},
        {"lr_policy": "step", "stepsize": 7},
        {"lr_policy": "multistep", "stepvalue": [30, 2, 2, 50], "gamma": 1e-18},
        {"lr_policy": "multistep", "stepvalue": [0, 1, 1, 2, 40], "gamma": 1e25},
        {"lr_policy": "inv", "gamma": 1e30, "power": 1.3},
        {"lr_policy": "inv", "gamma": 1e30, "power": -1.3},
        {"lr_policy": "poly", "power": 0.5},
        {"lr_policy": "poly", "power": -0.5},
        {"lr_policy": "poly", "power": 2},
        {"lr_policy": "poly"},
        {"lr_policy": "sigmoid", "gamma": 6.0, "stepsize": 44},
        {"lr_policy": "fixed", "base_lr": 0},
        {"lr_policy": "fixed", "base_lr": float("nan")},
    ],
    ids=lambda fields: " ".join(map(str, fields.values())),
)
def test_odd_rates_are_those_of_every_single_iteration(fields: dict[str, object], first: int) -> None:
    solver = pb.SolverParameter(**{"base_lr": 0.01, "max_iter": 41} | fields)  # type: ignore[arg-type]
    step, odd = 0, {}
    start = 0
    for iteration in range(60):
        if iteration == first:
            start = step
        step = next_step(solver, iteration, step)
        rate = learning_rate(solver, iteration, step)
        if iteration >= first and (rate == 0 or not math.isfinite(rate)):
            odd[iteration] = rate == 0
    found = odd_rates(solver, first, 60, start)
    assert {t: span.rate == 0 for span in found for t in range(span.first, span.stop)} == odd
    assert len(found) <= 3


def test_the_rates_of_two_billion_iterations_are_looked_at_in_no_time() -> None:
    solver = pb.SolverParameter(lr_policy="step", base_lr=0.1, gamma=0.5, stepsize=10_000_000, max_iter=2**31 - 1)
    begun = time.process_time()
    assert odd_rates(solver, 0, 2**31 - 1, 0) == [OddRates(1_470_000_000, 2**31 - 1, 0.0)]
    assert time.process_time() - begun < 0.5
