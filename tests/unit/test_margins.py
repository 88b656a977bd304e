"""Margins: bisection on made-up results of arms."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from harness.diagnosis.cause.judging import recovers
from harness.diagnosis.cause.stages.limit_search import WITHIN
from harness.diagnosis.cause.stages.margins import find_margins
from harness.diagnosis.cause.surviving import judged, survives
from harness.diagnosis.cause.trials import Wanted
from harness.schemas.arm import Arm, ArmResult, HistoryScaled, RateScaled, SolverField, WeightsJittered
from harness.schemas.explanation import Count, Margin
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
def test_limits_are_found_within_a_factor(share: float) -> None:
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
    assert len(arms[0]) == 2  # and the momentum after them
    assert max(len(some) for some in arms[:-1]) == 2
    assert sum(map(len, arms[:-1])) <= 19
    assert {arm.start for some in arms for arm in some} == {AT}


def test_a_changed_rate_comes_with_its_history_unless_that_holds_gradients() -> None:
    for kind, scaled in (("SGD", True), ("Adam", False)):
        wanted: list[Wanted] = []
        answered(find_margins(made_up_case(type=kind), AT), lambda arm: False, wanted)
        arms = [trial.arms[0] for trial in (wanted[0].trials[0], wanted[-2].trials[0])]
        assert [any(isinstance(c, HistoryScaled) for c in arm.changes) for arm in arms] == [scaled] * 2
    momentum = next(arm for arm in arms if value_of(arm)[0] == "momentum")
    assert SolverField("momentum", "0.8838") in momentum.changes


def test_what_breaks_however_mild_survives_nothing() -> None:
    found = answered(find_margins(made_up_case(momentum=0.0), AT), lambda arm: True)
    assert found["learning_rate"] == Margin(None, 0.0001, broke=Count(1, 1))
    assert found["momentum"] == Margin(None, 0.0)
    assert found["clip_gradients"].survives is None
    case = made_up_case()
    unknown = replace(case, gradient_l2=np.where(np.arange(2 * AT) < AT, 2.0, np.nan))
    assert answered(find_margins(unknown, AT), lambda arm: True)["clip_gradients"] == Margin(
        None, 2.0, broke=Count(1, 1)
    )


def test_a_training_recovers_that_has_left_the_broken_level_and_falls() -> None:
    levels = made_up_case().levels

    def after(*losses: float) -> bool:
        loss = tuple(value for value in losses for _ in range(8))
        return recovers(ArmResult(arm=Arm(AT, len(loss)), ended="completed", loss=loss), levels)

    assert after(BROKEN, BROKEN, 3.4, 3.0)
    assert not after(HEALTHY, 2.6, 2.8, 3.0)  # rises
    assert not after(2 * BROKEN, 5.0, 4.1, BROKEN)  # falls to the broken level
    assert after(BROKEN, 0.6, 0.5, 0.6)


JITTERED = made_up_case().with_jitter(1e-3)


def is_repeat(arm: Arm) -> bool:
    return any(isinstance(change, WeightsJittered) for change in arm.changes)


def test_both_ends_are_repeated_and_counted_but_for_the_value_of_the_run() -> None:
    wanted: list[Wanted] = []
    found = answered(find_margins(JITTERED, AT), lambda arm: value_of(arm)[1] > 0.03, wanted)["learning_rate"]
    assert (found.survived, found.broke) == (Count(2, 2), Count(2, 2))
    repeats = [arm for one in wanted for trial in one.trials for arm in trial.arms if is_repeat(arm)]
    rates = sorted(value for name, value in map(value_of, repeats) if name == "learning_rate")
    assert rates == pytest.approx([found.survives, found.breaks])
    own = answered(find_margins(JITTERED, AT), lambda arm: False)["learning_rate"]
    assert (own.survived, own.broke) == (Count(2, 2), None)


@pytest.mark.parametrize(("shakes", "lowered", "counts"), [(1.1, 1, (2, 2)), (100.0, 2, (1, 2))])
def test_an_end_that_its_repeat_does_not_survive_is_lowered(
    shakes: float, lowered: int, counts: tuple[int, int]
) -> None:
    """And a value that not all replays survive is in no condition."""

    limit = (
        answered(find_margins(made_up_case(), AT), lambda arm: value_of(arm)[1] > 0.03)["learning_rate"].survives or 0
    )

    def breaks(arm: Arm) -> bool:
        return value_of(arm)[1] > (limit / shakes if is_repeat(arm) else limit)

    found = answered(find_margins(JITTERED, AT), breaks)["learning_rate"]
    assert found.survives == pytest.approx(limit / WITHIN**lowered, rel=1e-3)
    assert found.survived == Count(*counts)
    assert found.confirmed == (found.survives if counts == (2, 2) else None)


def test_a_table_judges_such_an_arm_as_the_search_does() -> None:
    """It has left the broken level, and falls: whoever judges by its end alone calls it broken."""
    levels = made_up_case().levels
    falling = ArmResult(arm=Arm(AT, 32), ended="completed", loss=tuple(np.linspace(BROKEN, 2.9, 32)))
    for result, alive in ((falling, True), (msgspec.structs.replace(falling, ended="not finite"), False)):
        assert survives(result, levels) is alive
        assert judged("margin", result, levels) == judged("brake", result, levels) == ("healed" if alive else "broken")
    assert judged("record", falling, levels) == "broken"
    died = msgspec.structs.replace(falling, ended="died")
    assert (survives(died, levels), judged("margin", died, levels)) == (None, "died")


def test_a_limit_of_the_momentum_that_is_that_of_the_effective_rate_takes_two_arms() -> None:
    def breaks(arm: Arm) -> bool:
        name, value = value_of(arm)
        return name != "clip_gradients" and (value / 0.1 if name == "learning_rate" else 0.1 / (1 - value)) > 0.4

    wanted: list[Wanted] = []
    found = answered(find_margins(made_up_case(), AT), breaks, wanted)
    tried = {value for one in wanted for t in one.trials for name, value in [value_of(t.arms[0])] if name == "momentum"}
    assert tried == {found["momentum"].survives, found["momentum"].breaks}
