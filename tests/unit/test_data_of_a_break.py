"""Which batches a made-up break needs: the search among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.diagnosis.cause.stages.data import DataFinding, batches_named, data_began, find_data, first_unlike
from harness.schemas.arm import Arm, StreamShifted
from tests.helpers.made_up_cases import AT, answered, made_up_case

CASE = made_up_case()


def read(arm: Arm) -> list[int]:
    """The iterations whose batches an arm reads."""
    batches = []
    for t in range(arm.start, arm.until):
        shifts = [c for c in arm.changes if isinstance(c, StreamShifted) and c.first <= t < (c.stop or arm.until)]
        batches.append(shifts[-1].source + t - shifts[-1].first if shifts else t)
    return batches


def found_where(breaks: Callable[[list[int]], bool]) -> DataFinding:
    return answered(find_data(CASE), lambda arm: breaks(read(arm)))


@settings(max_examples=25, deadline=None)
@given(first=st.integers(AT - 4, AT + 3), width=st.integers(1, 8))
def test_the_batches_of_which_each_breaks_it_are_found(first: int, width: int) -> None:
    bad = set(range(first, first + width))
    found = found_where(lambda batches: bool(bad & set(batches)))
    assert found.cause == first
    assert found.width in ((width,) if width <= 4 else (width, None))  # an arm has no room for many
    assert (found.skipped is None) == (found.kept is None) == (found.width is None)
    assert found.skipped is None or found.skipped.all_heal
    assert found.kept is None or found.kept.all_break
    assert (found.moved is None) == (width <= 4)


@pytest.mark.parametrize("needed", [(AT, AT + 1), (AT - 1, AT + 1), (AT - 2, AT), (AT - 2, AT - 1, AT, AT + 1)])
def test_batches_that_break_it_only_together_are_found(needed: tuple[int, ...]) -> None:
    found = found_where(lambda batches: set(needed) <= set(batches))
    assert found.batches == tuple(range(needed[0], needed[-1] + 1))
    assert found.skipped is not None
    assert found.skipped.all_heal
    assert found.kept is not None
    assert found.kept.all_break


def test_two_batches_that_are_far_apart_are_not_few() -> None:
    found = found_where(lambda batches: {AT - 5, AT + 1} <= set(batches))
    assert found.batches == (AT + 1,)
    assert found.kept is not None
    assert found.kept.all_heal


def test_data_from_some_iteration_on() -> None:
    found = found_where(lambda batches: len(batches) > 9 and all(batch >= AT for batch in batches[-9:]))
    assert found.heals
    assert found.width is None or found.width > 4
    assert found.moved is not None
    assert found.moved.all_break


@pytest.mark.parametrize("unlike", [True, False])
def test_data_of_which_nothing_is_seen_must_break_training_wherever_they_are_read(unlike: bool) -> None:
    """Where a training is about to break anyway, some that read them earlier do so by chance."""
    inputs = np.ones((len(CASE.iterations), 2))
    inputs[AT:] = 30 if unlike else 1
    case = replace(CASE, inputs=inputs)
    found = answered(
        find_data(case), lambda arm: sum(t >= AT for t in read(arm)) > 8 and arm.start != max(CASE.first, AT - 20)
    )
    assert found.moved is not None
    assert (found.moved.breaks, found.moved.heals) == (2, 1)
    assert (found.unlike, found.break_earlier) == (unlike, unlike)


def test_a_batch_from_long_before() -> None:
    """It broke training as an earlier one of a stretch; other data from shortly before the onset on come too late."""
    case = replace(CASE, alike=frozenset({AT - 30}))
    found = answered(find_data(case), lambda arm: arm.start >= AT - 5 or AT - 30 in read(arm))
    assert found.far is not None
    assert found.far.all_heal
    assert found.cause == AT - 30


@pytest.mark.parametrize("breaks", [True, False])
def test_other_data_that_break_as_well_or_a_start_that_cannot_be_earlier(breaks: bool) -> None:
    found = answered(find_data(replace(CASE, first=CASE.start)), lambda arm: breaks or not arm.changes)
    assert found.heals != breaks
    assert found.far is None


def test_inputs_that_are_unlike_those_before() -> None:
    inputs = np.ones((len(CASE.iterations), 2))
    inputs[90:] = 30
    case = replace(CASE, inputs=inputs, iterations=np.arange(200) + 1000, at=1100)
    assert first_unlike(case, 1100) == 1090
    assert first_unlike(case, 1080) is None
    assert first_unlike(replace(case, sorted_from=1060), 1100) == 1060
    assert first_unlike(CASE, AT) is None
    long_ago = np.ones((400, 2))
    long_ago[200:] = 30
    assert first_unlike(replace(CASE, inputs=long_ago, iterations=np.arange(400), at=300), 300) == 200


def test_data_began_where_they_became_unlike_even_after_the_onset() -> None:
    """The onset of a noisy loss may be early."""
    inputs = np.ones((len(CASE.iterations), 2))
    inputs[AT + 4 :] = 30
    case = replace(CASE, inputs=inputs)
    assert data_began(case, AT + 9) == AT + 4
    assert data_began(case, AT + 4) == AT + 4
    assert data_began(case, AT + 2) == AT
    assert data_began(CASE, AT + 9) == AT
    assert data_began(CASE, AT - 2) == AT - 2


def test_data_that_training_bears_for_a_while_are_read_earlier_up_to_those_that_break() -> None:
    inputs = np.ones((len(CASE.iterations), 2))
    inputs[AT - 30 :] = 30
    case = replace(CASE, inputs=inputs)
    found = answered(find_data(case), lambda arm: AT in read(arm) and len({*read(arm)} & {*range(AT - 30, AT)}) >= 5)
    assert found.width == 1
    assert found.moved is not None
    assert found.moved.all_break


def test_batches_are_named() -> None:
    assert batches_named(1840, 1) == "batch 1,840"
    assert batches_named(1840, 2) == "batches 1,840 and 1,841"
    assert batches_named(1840, 4) == "batches 1,840 … 1,843"
