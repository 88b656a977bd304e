"""Arms are named by their content."""

from __future__ import annotations

import msgspec
import pytest

from harness.schemas.arm import (
    Arm,
    HistoryScaled,
    Place,
    RateHeld,
    RateScaled,
    RecordsReplaced,
    Replacement,
    SolverField,
    UpdateWithheld,
)

REPLACED = RecordsReplaced((Replacement(Place(841, 3), Place(700, 4)),))


def test_a_key_never_changes() -> None:
    """Results are found by it, in every version: never change these values, but `MEANING`."""
    assert Arm(840, 60).key == "a7c93bc085bb73e134e3fbc48586262a"
    changes = (RateHeld(841, 0.0025), RateScaled(0.1, 842, 850), HistoryScaled(0.0), REPLACED)
    assert (
        Arm(840, 60, (*changes, SolverField("momentum", "0.5"), UpdateWithheld("ip", 3)), 7).key
        == "fc0a59f5f0556876037542ad2b03f5be"
    )


def test_a_key_does_not_depend_on_how_numbers_and_sequences_are_written() -> None:
    one = Arm(840, 60, (RateScaled(1.0, 841), REPLACED))
    two = Arm(840, 60, [RateScaled(1, 841, None), RecordsReplaced([*REPLACED.replacements])])  # type: ignore[arg-type]
    assert one.key == two.key


def test_arms_that_differ_have_other_keys() -> None:
    arms = [
        Arm(840, 60),
        Arm(840, 61),
        Arm(841, 60),
        Arm(840, 60, seed=1),
        Arm(840, 60, look=True),
        Arm(840, 60, (RateScaled(0.5, 841),)),
        Arm(840, 60, (RateScaled(0.5, 841, 842),)),
        Arm(840, 60, (RateHeld(841, 0.5),)),
        Arm(840, 60, (RateHeld(841, 0.5), RateScaled(0.5, 841))),
        Arm(840, 60, (RateScaled(0.5, 841), RateHeld(841, 0.5))),
    ]
    assert len({arm.key for arm in arms}) == len(arms)


@pytest.mark.parametrize(
    "arm",
    [
        Arm(840, 0),
        Arm(-1, 5),
        Arm(840, 60, (HistoryScaled(float("nan")),)),
        Arm(840, 60, (RateHeld(841, float("inf")),)),
        Arm(840, 60, (RateScaled(0.5, 841),), seed=-1),
    ],
)
def test_numbers_out_of_their_range_have_no_key(arm: Arm) -> None:
    with pytest.raises(msgspec.ValidationError):
        _ = arm.key


def test_an_arm_survives_its_encoding() -> None:
    arm = Arm(840, 60, (RateScaled(0.1, 842, 850), REPLACED), 3)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(arm), type=Arm) == arm
