"""The names of conditions, which are public, and the chance level."""

from __future__ import annotations

import math
from typing import get_args

import pytest

from harness.diagnosis.conditions import (
    MAX_LOSS,
    Condition,
    HeadState,
    Status,
    Verdict,
    chance_loss,
    total_chance_loss,
)
from harness.diagnosis.live.limits import read_limits
from harness.schemas.layout import Head


def test_the_names_of_a_condition() -> None:
    names = {c.name: (c.rule, c.verdict, c.head_state, c.status) for c in Condition}
    assert names == {
        "UNIFORM": ("uniform_collapse", "uniform-softmax", "uniform", "uniform"),
        "SATURATED": ("saturated_softmax", "saturated-softmax", "saturated", "saturated"),
        "NON_FINITE": ("non_finite", "nan", "nan", "not finite"),
    }
    for condition in Condition:
        assert read_limits().of(condition.rule).stops
        assert condition.verdict in get_args(Verdict)
        assert condition.head_state in get_args(HeadState)
        assert condition.status in get_args(Status)


def test_the_condition_of_a_head() -> None:
    found = {state: Condition.of_head(state) for state in get_args(HeadState)}
    assert {state: condition for state, condition in found.items() if condition is not None} == {
        "uniform": Condition.UNIFORM,
        "saturated": Condition.SATURATED,
        "nan": Condition.NON_FINITE,
    }


def test_the_chance_level() -> None:
    heads = (Head("a", 0.3, 280), Head("b", 1.0, 280))
    assert chance_loss(280) == math.log(280)
    assert total_chance_loss(heads) == pytest.approx(1.3 * math.log(280))
    assert total_chance_loss((*heads, Head("euclidean", 1.0, None))) is None
    assert total_chance_loss(()) is None


def test_the_largest_loss_that_caffe_counts() -> None:
    assert f"{MAX_LOSS:.6g}" == "87.3365"
