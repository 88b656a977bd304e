"""Which batches arms read in place of others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.diagnosis.cause.case import BEFORE
from harness.diagnosis.cause.other_data import Order, other_orders
from harness.schemas.arm import StreamShifted
from tests.helpers.made_up_cases import AT, made_up_case

CASE = made_up_case()
UNTIL = CASE.until


def read(order: Order) -> dict[int, int]:
    """Which iteration's batch each iteration reads."""
    return {t: shift.source + t - shift.first for shift in order for t in range(shift.first, shift.stop or 0)}


def test_other_batches_come_from_before_the_break_as_far_apart_as_they_can() -> None:
    newest, oldest = 90 - 31, 0
    assert other_orders(CASE, 90, 121, 3) == [
        (StreamShifted(90, source, 121),) for source in (newest, newest - newest // 2, oldest)
    ]
    assert other_orders(CASE, 90, 121, 1, skip=2) == [(StreamShifted(90, oldest, 121),)]
    assert other_orders(replace(CASE, earliest=59), 90, 121, 1) == [(StreamShifted(90, newest, 121),)]
    assert other_orders(CASE, AT, AT + 31, 1) == [(StreamShifted(AT, AT - BEFORE - 31, AT + 31),)]


def test_what_is_suspected_is_read_only_where_there_are_not_enough_others() -> None:
    assert other_orders(replace(CASE, earliest=64), 90, 121, 1) == [(StreamShifted(90, AT - BEFORE - 31, 121),)]


def test_they_come_after_all_arms_where_training_broke_too_early() -> None:
    orders = other_orders(replace(CASE, earliest=65), 90, 121, 2)
    first = max(UNTIL, AT + 31) + 31
    assert orders == [(StreamShifted(90, first, 121),), (StreamShifted(90, first + 31, 121),)]


@pytest.mark.parametrize("earliest", [0, 65])
def test_records_from_near_the_break_do_not_come_back(earliest: int) -> None:
    """As a data set of 21 iterations has it, which reads them again in each of its rounds."""
    alike = frozenset(t for t in range(1000) if (t - AT) % 21 in (0, 18, 19, 20))
    orders = other_orders(replace(CASE, earliest=earliest, alike=alike), 90, 121, 3)
    for order in orders:
        sources = read(order)
        assert list(sources) == list(range(90, 121))
        assert len(set(sources.values())) == 31
        assert not alike & set(sources.values())
    assert len({shift.source for order in orders for shift in order[:1]}) == 3
