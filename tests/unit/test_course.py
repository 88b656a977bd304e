"""The course of a recorded loss: what counts as a return, and from where arms reach a break."""

from __future__ import annotations

import numpy as np
import pytest

from harness.diagnosis.cause.course import has_returned, iterations_needed, levels_of, returned_after, within_reach
from harness.diagnosis.cause.judging import end_level, end_levels, judge_loss
from harness.diagnosis.robust_stats import Floats

CHANCE = 4.0
HEALTHY = 0.1 + 0.02 * np.sin(np.arange(100))


def flat(level: float, count: int) -> Floats:
    return np.full(count, level)


SPIKE = np.concatenate([flat(9, 20), flat(2.5, 50), HEALTHY])


def test_a_spike_has_returned_although_another_departure_follows() -> None:
    """What comes later is another question; where nothing rose before it, it is the same one."""
    after = np.concatenate([SPIKE, flat(0.3, 60)])
    assert returned_after(HEALTHY, after, len(SPIKE), CHANCE) == len(SPIKE)
    assert returned_after(HEALTHY, np.concatenate([HEALTHY, flat(4, 60)]), len(HEALTHY), CHANCE) is None
    assert returned_after(HEALTHY, flat(4, 60), 0, CHANCE) is None


def test_without_an_onset_the_end_counts() -> None:
    assert returned_after(HEALTHY, HEALTHY, None, CHANCE) == len(HEALTHY)
    assert returned_after(HEALTHY, SPIKE[:60], None, CHANCE) is None


@pytest.mark.parametrize(
    ("end", "returned"),
    [
        (HEALTHY, True),
        (np.linspace(1.5, 0.3, 120), True),  # it still falls
        (flat(0.6, 400), False),  # it has settled above
        (flat(4, 400), False),
        (np.append(HEALTHY, np.nan), False),
    ],
)
def test_a_loss_that_has_settled_above_its_level_of_before_has_not_returned(end: Floats, returned: bool) -> None:
    assert has_returned(HEALTHY, np.concatenate([flat(4, 100), end]), CHANCE) == returned


def test_arms_start_where_they_reach_the_break() -> None:
    quick = np.concatenate([HEALTHY, flat(1, 50), flat(4, 100)])
    assert within_reach(quick, 100, CHANCE) == 100
    slow = np.concatenate([HEALTHY, flat(1, 400), flat(4, 100)])
    row = within_reach(slow, 100, CHANCE)
    assert 450 <= row < 500
    needed = iterations_needed(slow[row:], levels_of(slow[:row], slow[row:], CHANCE))
    assert row + needed > 520
    assert within_reach(HEALTHY, 50, CHANCE) == 50


@pytest.mark.parametrize("count", [0, 1, 5, 31, 32, 80])
def test_the_lowest_levels_at_the_end_of_each_beginning(count: int) -> None:
    loss = np.random.default_rng(count).normal(1, 0.1, count)
    loss[40:41], loss[41:42] = np.nan, -np.inf
    for end, lowest in enumerate(end_levels(loss), 1):
        starts = [np.concatenate([flat(9, before), loss[:end]]) for before in range(40)]
        levels = [end_level(part) for part in starts if min(8, len(part) // 4) <= end]
        assert lowest == pytest.approx(min(levels))


def test_where_the_loss_swings_an_arm_is_broken_whenever_it_starts() -> None:
    losses = [
        0.4,
        *[0] * 4,
        0,
        0,
        0,
        0,
        1.2,
        0,
        0,
        0,
        0.7,
        5.5,
        5.5,
        4.6,
        0,
        6.5,
        0.6,
        8.4,
        5.6,
        0,
        0,
        4,
        5.5,
        2.9,
        0.7,
    ]
    after = np.concatenate([losses, [11.6, 0, 16.9, 5.6, 5.5, 10.7, 0, 21.6], flat(6, 100)])
    levels = levels_of(flat(0, 100), after, 2.3)
    needed = iterations_needed(after, levels)
    for earlier in (0, 5, 20, 50):
        assert judge_loss(np.concatenate([flat(0, earlier), after[:needed]]), levels) == "broken"
