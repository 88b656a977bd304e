"""Whether an arm has broken or healed."""

from __future__ import annotations

import math
import warnings

import pytest

from harness.diagnosis.cause.judging import end_level, judge, limit_between, recovers
from harness.schemas.arm import Arm, ArmResult
from harness.schemas.explanation import Judgement, Levels

LEVELS = Levels(1.0, 9.0, 5.0, 9.0)


def result(*loss: float, ended: str = "completed") -> ArmResult:
    return ArmResult(arm=Arm(0, max(1, len(loss))), ended=ended, loss=loss)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loss", "judgement"),
    [
        ((1.0,) * 40, "healed"),
        ((9.0,) * 40, "broken"),
        ((1.0,) * 20 + (9.0,) * 20, "broken"),
        ((1.0,) * 39 + (9.0,), "healed"),  # a spike at the end
        ((5.5,) * 40, "unclear"),
        ((3.5,) * 40, "healed"),
        ((1.0,) * 39 + (math.nan,), "broken"),
        ((math.inf,) * 4, "broken"),
        ((9.0,), "broken"),
        ((), "broken"),
    ],
)
def test_the_end_of_an_arm_is_judged(loss: tuple[float, ...], judgement: Judgement) -> None:
    assert judge(result(*loss), LEVELS) == judgement


def test_arms_that_end_otherwise() -> None:
    assert judge(result(1.0, ended="not finite"), LEVELS) == "broken"
    assert judge(result(1.0, ended="died"), LEVELS) == "died"
    assert judge(result(ended="refused"), LEVELS) == "refused"


@pytest.mark.parametrize(
    ("healthy", "broken", "chance", "limit"),
    [
        (1.0, 9.0, 9.0, 5.0),
        (1.0, 90.0, 9.0, 5.0),  # worse than chance: forgotten is broken as well
        (1.0, 3.0, 9.0, 2.0),
        (1.0, None, 9.0, 5.0),
        (1.0, math.nan, None, 1.5),
        (0.1, None, None, 0.6),
        (4.0, 3.0, None, 6.0),  # it came back below
    ],
)
def test_the_limit_lies_half_way(healthy: float, broken: float | None, chance: float | None, limit: float) -> None:
    assert limit_between(healthy, broken, chance) == pytest.approx(limit)


def test_a_training_recovers_that_has_left_the_broken_level_and_falls() -> None:
    falling = [9.0] * 10 + [9 - 0.1 * n for n in range(30)]
    assert recovers(result(*falling), LEVELS)
    assert not recovers(result(*falling[::-1]), LEVELS)
    assert not recovers(result(*[8.9] * 40), LEVELS)
    assert not recovers(result(*falling, ended="not finite"), LEVELS)
    assert not recovers(result(*falling), Levels(1.0, None, 5.0))
    with warnings.catch_warnings(action="error"):
        assert not recovers(result(7.0, 6.5), LEVELS)  # too few to fall
    assert recovers(result(*[1.0] * 40), Levels(1.0, None, 5.0))
    assert math.isinf(end_level([]))
