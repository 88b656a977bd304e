"""Settings that are changed one at a time, in a made-up training."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.stages.factors import Screened, is_usual_decay, reach, rises, screen
from harness.diagnosis.cause.trials import Wanted
from harness.schemas.arm import Arm, HistoryScaled, RateHeld, SolverField, WeightsJittered
from tests.helpers.made_up_cases import AT, BROKEN, answered, made_up_case

CASE = made_up_case().with_jitter(1e-3)
T = np.arange(200)


def with_rate(rate: np.ndarray) -> Case:
    return replace(CASE, rate=rate)


def by_kind(found: tuple[Screened, ...]) -> dict[str, Screened]:
    return {one.factor.kind: one for one in found}


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (np.full(200, 0.1), ()),
        (np.where(T < 95, 0.01, 0.1), ((95, 0.01),)),
        (np.where(T < 40, 0.01, np.where(T < 90, 0.05, 0.1)), ((90, 0.05),)),  # the last of two
        (np.where(T < 101, 0.01, 0.1), ()),  # after the break
        (0.1 * 0.99**T, ()),
        (0.1 * 1.1**T, ((96, 0.1 * 1.1**96), (88, 0.1 * 1.1**88))),
    ],
)
def test_the_last_rise_of_the_rate_is_found(rate: np.ndarray, expected: tuple[tuple[int, float], ...]) -> None:
    found = rises(with_rate(rate))
    assert [since for since, _ in found] == [since for since, _ in expected]
    assert [before for _, before in found] == pytest.approx([before for _, before in expected])


def test_what_heals_is_repeated_and_what_does_not_is_not() -> None:
    wanted: list[Wanted] = []
    found = by_kind(answered(screen(CASE), lambda arm: SolverField("clip_gradients", "4.0") in arm.changes, wanted))
    assert found["learning-rate"].heals
    assert found["learning-rate"].seen.heals == 3
    jittered = [
        any(isinstance(c, WeightsJittered) for c in arm.changes) for arm in found["learning-rate"].seen.trial.arms
    ]
    assert jittered == [False, True, True]
    assert not found["gradient-clipping"].heals
    assert len(found["gradient-clipping"].seen.trial.arms) == 1
    assert [len(one.trials) for one in wanted] == [2, 1]


def test_a_change_that_starts_earlier_is_compared_with_what_starts_there() -> None:
    """Where training from there does not break without a change either, it says nothing."""
    case = replace(made_up_case(momentum=0.99), jitter=1e-3)
    for chance, heals in ((False, True), (True, False)):
        earliest = 95 if chance else 0
        found = answered(screen(case), partial(_breaks, earliest))
        momentum = by_kind(found)["momentum"]
        assert momentum.placebo is not None
        assert momentum.placebo.trial.arms[0].start == AT - 50
        assert momentum.heals == heals


def _breaks(earliest: int, arm: Arm) -> bool:
    """As a training that breaks if it begins late enough, and with its own momentum."""
    mild = any(isinstance(change, SolverField) and change.field == "momentum" for change in arm.changes)
    return not mild and arm.start >= earliest


def test_histories_go_with_a_rate_or_a_momentum_only_where_they_hold_it() -> None:
    for kind, scaled in (("SGD", [0.1]), ("Nesterov", [0.1]), ("Adam", [])):
        found = by_kind(answered(screen(made_up_case(momentum=0.99, type=kind)), lambda arm: True))
        changes = found["momentum"].seen.trial.arms[0].changes
        assert [c.factor for c in changes if isinstance(c, HistoryScaled)] == pytest.approx(scaled)


def test_a_rate_is_held_from_its_rise_on() -> None:
    found = by_kind(answered(screen(with_rate(np.where(T < 80, 0.01, 0.1))), lambda arm: True))
    arm = found["lr-schedule"].seen.trial.arms[0]
    assert (arm.start, arm.changes) == (80, (RateHeld(80, 0.01),))
    long_ago = replace(with_rate(np.where(T < 20, 0.01, 0.1)), first=90, start=95)
    arm = by_kind(answered(screen(long_ago), lambda arm: True))["lr-schedule"].seen.trial.arms[0]
    assert (arm.start, arm.changes[0]) == (95, RateHeld(95, 0.01))
    assert isinstance(arm.changes[1], HistoryScaled)


def test_unusual_decays_need_a_start_further_back() -> None:
    usual, high, negative = (made_up_case(weight_decay=decay).solver for decay in (0.0005, 0.1, -0.1))
    assert [is_usual_decay(solver) for solver in (usual, high, negative)] == [True, False, False]
    assert reach(usual) < reach(high) == reach(negative)


@pytest.mark.parametrize(("breaking", "needed"), [({0}, True), ({0, 1}, False), (set(), True)])
def test_a_raised_rate_is_repeated_even_if_it_breaks_once_and_needed_if_most_arms_continue(
    breaking: set[int], needed: bool
) -> None:
    """It deviates from its past; a training may break anew while it heals from what else was done to it."""

    def breaks(arm: Arm) -> bool:
        held = any(isinstance(change, RateHeld) for change in arm.changes)
        return not held or arm.seed in breaking

    case = with_rate(np.where(T < 20, 0.01, 0.1))
    found = by_kind(answered(screen(case), breaks))["lr-schedule"]
    assert len(found.seen.trial.arms) == 3
    assert (found.heals, found.is_needed) == (not breaking, needed)


def test_arms_with_a_lower_rate_go_on_while_they_fall_and_others_do_not() -> None:
    def falls(arm: Arm) -> dict[str, object]:
        return {"loss": tuple(np.linspace(BROKEN, BROKEN - arm.horizon / 18, arm.horizon))}

    found = by_kind(answered(screen(CASE), lambda arm: True, more=falls))
    assert found["learning-rate"].seen.trial.arms[0].horizon == 4 * CASE.horizon
    assert found["learning-rate"].heals
    assert found["gradient-clipping"].seen.trial.arms[0].horizon == CASE.horizon


def test_arms_go_on_for_long_enough_after_data_that_do_damage_late() -> None:
    late = answered(screen(CASE, AT + 30), lambda arm: True)
    assert {one.seen.trial.arms[0].until for one in late} == {AT + 30 + CASE.after}
