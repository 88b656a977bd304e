"""ddmin and halving: what they return fails, and nothing of it can be left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.capsules.shrinking.delta_debugging import ddmin, fewest, least


@given(st.integers(1, 40), st.sets(st.integers(0, 39), max_size=6))
def test_what_remains_is_what_the_failure_needs(count: int, needed: set[int]) -> None:
    needed = {n for n in needed if n < count}
    tried: list[tuple[int, ...]] = []

    def fails(part: tuple[int, ...]) -> bool:
        tried.append(part)
        return needed <= set(part)

    assert ddmin(range(count), fails) == tuple(sorted(needed))
    assert len(set(tried)) == len(tried)  # none is tried twice
    assert all(list(part) == sorted(part) for part in tried)


@given(st.integers(2, 40), st.integers(1, 40))
def test_where_any_few_are_enough_few_remain(count: int, enough: int) -> None:
    enough = min(enough, count)
    assert len(ddmin(range(count), lambda part: len(part) >= enough)) == enough


@given(st.sets(st.frozensets(st.integers(0, 9)), max_size=20), st.integers(1, 10))
def test_no_single_item_can_be_left_out_of_what_remains(failing: set[frozenset[int]], count: int) -> None:
    """Whatever fails: here any parts, and all items together."""

    def fails(part: tuple[int, ...]) -> bool:
        return len(part) == count or frozenset(part) in failing

    kept = ddmin(range(count), fails)
    assert fails(kept)
    assert not any(fails(kept[:n] + kept[n + 1 :]) for n in range(len(kept)))


def test_nothing_is_needed() -> None:
    assert ddmin("abc", lambda part: True) == ()
    assert ddmin("", lambda part: True) == ()


def test_one_in_a_thousand_takes_few_tries() -> None:
    tries = 0

    def fails(part: tuple[int, ...]) -> bool:
        nonlocal tries
        tries += 1
        return 617 in part

    assert ddmin(range(1000), fails) == (617,)
    assert tries < 30


@given(st.integers(-5, 50), st.integers(-5, 50), st.integers(-5, 50))
def test_the_least_number_that_fails(low: int, high: int, first: int) -> None:
    low, high = min(low, high), max(low, high)
    tried: list[int] = []

    def fails(number: int) -> bool:
        tried.append(number)
        return number >= first

    assert least(low, high, fails) == min(max(low, first), high)
    assert len(tried) <= (high - low).bit_length()


@given(st.integers(1, 40), st.sets(st.integers(0, 39), max_size=6), st.integers(0, 60))
def test_a_limited_search_returns_what_fails(count: int, needed: set[int], tries: int) -> None:
    needed = {n for n in needed if n < count}
    tried = 0

    def fails(part: tuple[int, ...]) -> bool:
        nonlocal tried
        tried += 1
        return needed <= set(part)

    assert needed <= set(fewest(range(count), fails, tries))
    assert tried <= tries
