"""Margins: bisection on made-up results of arms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.diagnosis.cause.judging import recovers
from harness.diagnosis.cause.stages.limit_search import WITHIN
from harness.diagnosis.cause.stages.margins import find_margins
from harness.diagnosis.cause.trials import Wanted
from harness.schemas.arm import Arm, ArmResult, HistoryScaled, RateScaled, SolverField
from harness.schemas.explanation import Margin
from tests.helpers.made_up_cases import AT, BROKEN, HEALTHY, answered, made_up_case


def value_of(arm: Arm) -> tuple[str, float]:
    """The setting that an arm has changed, and its value."""
    for change in arm.changes:
        if isinstance(change, SolverField):
            return change.field, float(change.value)
        if isinstance(change, RateScaled):
            return "learning_rate", 0.1 * change.factor
    raise AssertionError(arm)


@pytest.mark.parametrize("share", [0.9, 0.25, 0.02])
def test_limits_are_found_within_a_factor_and_all_at_once(share: float) -> None:
    limits = {"learning_rate": 0.1 * share, "clip_gradients": 50 * share, "momentum": 1 - 0.1 / max(share, 0.15)}
    wanted: list[Wanted] = []
    found = answered(find_margins(made_up_case(), AT), lambda arm: value_of(arm)[1] > limits[value_of(arm)[0]], wanted)
    assert set(found) == set(limits)
    for name, margin in found.items():
        assert margin.survives is not None
        assert margin.breaks is not None
        assert margin.survives <= limits[name] < margin.breaks
        low, high = (1 / (1 - v) if name == "momentum" else v for v in (margin.survives, margin.breaks))
        assert high <= WITHIN * low * 1.001
    arms = [[trial.arms[0] for trial in one.trials] for one in wanted]
    assert len(arms[0]) == 3
    assert max(len(some) for some in arms) == 3
    assert len(arms) <= 7
    assert {arm.start for some in arms for arm in some} == {AT}


def test_a_changed_rate_comes_with_its_history_unless_that_holds_gradients() -> None:
    for kind, scaled in (("SGD", True), ("Adam", False)):
        wanted: list[Wanted] = []
        answered(find_margins(made_up_case(type=kind), AT), lambda arm: False, wanted)
        arms = [trial.arms[0] for trial in wanted[0].trials if value_of(trial.arms[0])[0] != "clip_gradients"]
        assert [any(isinstance(c, HistoryScaled) for c in arm.changes) for arm in arms] == [scaled] * 2
    momentum = next(arm for arm in arms if value_of(arm)[0] == "momentum")
    assert SolverField("momentum", "0.6667") in momentum.changes


def test_what_breaks_however_mild_survives_nothing() -> None:
    found = answered(find_margins(made_up_case(momentum=0.0), AT), lambda arm: True)
    assert found["learning_rate"] == Margin(None, 0.0001)
    assert found["momentum"] == Margin(None, 0.0)
    assert found["clip_gradients"].survives is None
    case = made_up_case()
    unknown = replace(case, gradient_l2=np.where(np.arange(2 * AT) < AT, 2.0, np.nan))
    assert answered(find_margins(unknown, AT), lambda arm: True)["clip_gradients"] == Margin(None, 2.0)


def test_a_training_recovers_that_has_left_the_broken_level_and_falls() -> None:
    levels = made_up_case().levels

    def after(*losses: float) -> bool:
        loss = tuple(value for value in losses for _ in range(8))
        return recovers(ArmResult(arm=Arm(AT, len(loss)), ended="completed", loss=loss), levels)

    assert after(BROKEN, BROKEN, 3.4, 3.0)
    assert not after(HEALTHY, 2.6, 2.8, 3.0)  # rises
    assert not after(2 * BROKEN, 5.0, 4.1, BROKEN)  # falls to the broken level
    assert after(BROKEN, 0.6, 0.5, 0.6)
