"""The point of no return, and other orders of the data, on made-up results of arms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.diagnosis.cause.stages.brakes import find_point_of_no_return
from harness.diagnosis.cause.stages.orders import find_orders
from harness.diagnosis.cause.trials import Wanted
from harness.schemas.arm import Arm, SolverField, StreamShifted
from harness.schemas.explanation import Orders
from tests.helpers.made_up_cases import AFTER, AT, answered, made_up_case


@pytest.mark.parametrize("last", [AT, AT + 1, AT + 2, AT + 3, AT + 6, AT + 9, AT + AFTER - 1])
def test_the_last_iteration_is_found_from_which_the_better_brake_heals(last: int) -> None:
    wanted: list[Wanted] = []

    def breaks(arm: Arm) -> bool:
        return arm.start > last or not any(isinstance(change, SolverField) for change in arm.changes)

    assert answered(find_point_of_no_return(made_up_case(), AT), breaks, wanted) == last
    assert sum(len(one.trials) for one in wanted) <= 12


def test_there_is_none_where_no_brake_heals_or_all_do() -> None:
    assert answered(find_point_of_no_return(made_up_case(), AT), lambda arm: True) is None
    assert answered(find_point_of_no_return(made_up_case(), AT), lambda arm: False) is None
    unknown = replace(made_up_case(), gradient_l2=np.full(2 * AT, np.nan))
    assert answered(find_point_of_no_return(unknown, AT), lambda arm: arm.start > AT) == AT


def test_orders_begin_before_the_cause_and_read_other_batches_once() -> None:
    wanted: list[Wanted] = []
    case = replace(made_up_case(), first=AT - 15)
    found = answered(find_orders(case, AT), lambda arm: arm.start <= AT - 5, wanted)
    assert found == (Orders(1, 2, 0), Orders(2, 2, 0), Orders(5, 2, 2), Orders(10, 2, 2))
    for trial in wanted[0].trials:
        for arm in trial.arms:
            (shift,) = arm.changes
            assert isinstance(shift, StreamShifted)
            assert shift.first == arm.start
            assert shift.source + arm.horizon <= AT
            assert arm.until == AT + AFTER
