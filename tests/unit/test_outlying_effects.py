"""Which effects of records are outliers, on made-up results."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.diagnosis.cause.records.outlying import (
    Effect,
    Usual,
    effect_of,
    is_suspicious,
    outlying_rise,
    relief,
    usual_of,
)
from harness.schemas.arm import Arm, ArmResult

NAN, INF = math.nan, math.inf
ORDINARY = ArmResult(arm=Arm(40, 5), ended="completed", loss=(1, 1, 1.5, 1.2, 1.1), gradient_l2=(3, 3, 3, 3, 3))
LEAST = (0.05, 0.05, 0.05)


def usual() -> Usual:
    random = np.random.default_rng(1)
    return usual_of([Effect(tuple(random.normal(0, 0.002, 3)), 3 * math.exp(random.normal(0, 0.1))) for _ in range(14)])


def result(*loss: float, ended: str = "completed", gradient: float = 3) -> ArmResult:
    return ArmResult(arm=Arm(40, 5), ended=ended, loss=loss, gradient_l2=(3, gradient, 3, 3, 3)[: len(loss)])  # type: ignore[arg-type]


def test_an_effect_counts_from_the_iteration_after_the_batch() -> None:
    found = effect_of(result(1, 70, 3.5, 1.2, 1.0, gradient=99), ORDINARY, 41)
    assert found is not None
    assert found.rises == pytest.approx((2.0, 0.0, -0.1))
    assert found.gradient_l2 == 99


@pytest.mark.parametrize(
    ("loss", "rises", "gradient"),
    [
        ((1, NAN), (INF, INF, INF), INF),
        ((1, 5, NAN), (INF, INF, INF), 3),
        ((1, 5, 2.5, 2), (1.0, INF, INF), 3),
    ],  # not the loss itself
)
def test_what_is_not_finite_is_infinite_from_then_on(
    loss: tuple[float, ...], rises: tuple[float, ...], gradient: float
) -> None:
    found = effect_of(result(*loss, ended="not finite", gradient=gradient), ORDINARY, 41)
    assert found == Effect(rises, gradient)
    assert outlying_rise(found, usual(), LEAST) == rises[0]
    assert is_suspicious(found, usual())


def test_a_process_that_died_says_nothing() -> None:
    assert effect_of(result(1, ended="died"), ORDINARY, 41) is None


def test_an_outlier_is_far_from_ordinary_records_and_relevant() -> None:
    assert outlying_rise(Effect((0.06,), 3), usual(), LEAST) == 0.06
    assert outlying_rise(Effect((0.04,), 3), usual(), LEAST) is None  # far from them, but too small to matter
    wide = Usual((0.0,), (0.1,), 3, 0.15)
    assert outlying_rise(Effect((0.5,), 3), wide, LEAST) is None  # ordinary records do as much now and then
    assert outlying_rise(Effect((1.0,), 3), wide, LEAST) == 1.0
    assert outlying_rise(Effect((-1.0, 0.0, 2.0), 3), usual(), LEAST) == 2.0  # it shows in the third iteration only


def test_a_large_gradient_or_a_far_effect_in_any_direction_is_looked_into() -> None:
    assert not is_suspicious(Effect((0.004,), 3.5), usual())
    assert is_suspicious(Effect((0.004,), 30), usual())
    assert is_suspicious(Effect((-0.1,), 3), usual())
    assert not is_suspicious(Effect((0.004,), 0.0), usual())  # without a gradient, it does nothing


def test_single_outliers_among_ordinary_records_widen_nothing() -> None:
    effects = [Effect((0.001 * n,), 3) for n in range(-5, 6)]
    assert usual_of(effects).spread == pytest.approx((0.0044478,))
    assert usual_of([*effects, Effect((5.0,), 300), Effect((INF,), INF)]).spread[0] < 0.005


def test_ordinary_effects_of_zero_leave_room_for_rounding() -> None:
    nothing = usual_of([Effect((0.0, 0.0, 0.0), 0.0)] * 14)
    assert outlying_rise(Effect((5e-6, 0.0, 0.0), 0.0), nothing, (0.0,) * 3) is None
    assert outlying_rise(Effect((1.0, 0.0, 0.0), 0.0), nothing, (0.0,) * 3) == 1.0


def test_a_few_far_ordinary_records_among_many_that_do_nothing_count() -> None:
    hard = usual_of([*[Effect((0.0,), 3)] * 12, Effect((0.05,), 3), Effect((-0.04,), 3)])
    assert outlying_rise(Effect((0.07,), 3), hard, (0.01,)) is None
    assert outlying_rise(Effect((0.2,), 3), hard, (0.01,)) == 0.2


def test_a_record_that_does_damage_with_others_only_is_told_by_what_the_batch_does_without_it() -> None:
    whole = Effect((4.0, 9.0, 9.0), 90)
    without_others = usual_of([Effect((4.0 + n, 9.0, 9.0), 90) for n in (-0.1, 0.0, 0.05, 0.1)])
    assert relief(Effect((1.0, 9.0, 9.0), 5), without_others, whole, 0, 1 / 8) == pytest.approx(3.025)
    assert relief(Effect((3.7, 9.0, 9.0), 5), without_others, whole, 0, 1 / 8) is None  # less than an eighth
    assert relief(Effect((INF, INF, INF), 5), without_others, whole, 0, 1 / 8) is None
