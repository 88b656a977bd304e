"""Rates of single layers, on made-up results of arms."""

from __future__ import annotations

from dataclasses import replace

from harness.diagnosis.cause.stages.layer_lr import out_of_line, screen_layer_rates
from harness.diagnosis.cause.trials import Wanted
from harness.schemas.arm import Arm, LayerField
from tests.helpers.made_up_cases import answered, made_up_case

LAYERS = tuple("abcdefghij")


def slowed(arm: Arm) -> set[str]:
    return {change.layer for change in arm.changes if isinstance(change, LayerField)}


def test_a_layer_out_of_line_is_tried_alone_and_against_all_others() -> None:
    case = made_up_case(LAYERS).with_jitter(0.001)
    case = replace(case, params=tuple(replace(p, lr_mult=10.0) if p.layer == "d" else p for p in case.params))
    wanted: list[Wanted] = []
    found = answered(screen_layer_rates(case), lambda arm: "d" not in slowed(arm), wanted)
    assert found.layer == "d"
    assert found.others is not None
    assert found.others.breaks == 3
    assert found.alone["d"].heals == 3
    assert [len(one.trials) for one in wanted] == [1, 2]
    innocent = answered(screen_layer_rates(case), lambda arm: True)
    assert innocent.layer is None
    assert innocent.others is None
    assert not innocent.healing


def test_a_layer_far_above_the_others_needs_no_comparison_with_them() -> None:
    case = made_up_case(LAYERS)
    case = replace(case, params=tuple(replace(p, lr_mult=60.0) if p.layer == "d" else p for p in case.params))
    found = answered(screen_layer_rates(case), lambda arm: not slowed(arm))
    assert found.layer == "d"
    assert found.others is None


def test_without_a_layer_out_of_line_none_is_tried() -> None:
    wanted: list[Wanted] = []
    assert answered(screen_layer_rates(made_up_case(LAYERS)), lambda arm: False, wanted).layer is None
    assert not wanted


def test_a_layer_is_not_the_one_where_all_others_heal_as_well() -> None:
    case = replace(made_up_case(LAYERS), usual_steps={layer: 0.1 if layer == "c" else 0.001 for layer in LAYERS})
    assert out_of_line(case) == ("c",)
    found = answered(screen_layer_rates(case), lambda arm: False)
    assert found.healing == ("c",)
    assert found.layer is None
