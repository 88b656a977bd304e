"""A snapshot interval is suggested only where that makes a rewind much cheaper."""

from __future__ import annotations

import pytest

from harness.quantities import duration
from harness.supervisor.snapshot_advice import advice

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("every", "iterations", "seconds", "size"),
    [
        (200, 1600, 0.05, 3 * MIB),  # the demo
        (0, 1500, 0.2, 3 * MIB),  # the whole training takes five minutes
        (40_000, 1500, 0.2, 3 * MIB),
        (1000, 4_000_000, 0.17, 90 * MIB),  # three minutes
        (2000, 4_000_000, 0.17, 90 * MIB),  # a little more than five
        (5000, 400_000, 0.5, 1100 * MIB),  # snapshots of VGG more often would take too much of the time
        (0, 10_000, 0.0, MIB),
    ],
)
def test_where_rewinds_are_cheap_nothing_is_said(every: int, iterations: int, seconds: float, size: int) -> None:
    assert advice(every, iterations, seconds, size, None, 500 * GIB) is None


def test_a_week_on_a_gpu() -> None:
    said = advice(40_000, 3_500_000, 0.17, 90 * MIB, None, 500 * GIB)
    assert said == (
        "Snapshots are 40,000 iterations apart: to record afterwards what was not watched (rewind) may repeat 1 h 53 "
        "min of training. With --snapshot-every 1000 --keep-snapshots 20 that is at most 2 min 50 s in the last "
        "19,000 iterations, for 0.6% of the time and 1.8 GiB of disk. A restart of this run takes these options, too."
    )
    large = advice(40_000, 3_500_000, 0.17, 90 * MIB, None, 5000 * GIB)
    assert large is not None
    assert "With --snapshot-every 1000 that is" in large
    assert "307.7 GiB of disk" in large
    kept = advice(0, 3_500_000, 0.17, 90 * MIB, 5, 500 * GIB)
    assert kept is not None
    assert kept.startswith("This run takes no snapshots: to record afterwards")
    assert "repeat 6 d 21 h of training. With --snapshot-every 1000 that is" in kept
    assert "in the last 4,000 iterations, for 0.6% of the time and 450.0 MiB of disk" in kept
    assert advice(0, 3_500_000, 0.17, 90 * MIB, 1, 500 * GIB) is None
    small = advice(0, 100_000, 0.01, MIB, None, 500 * GIB)
    assert small is not None
    assert "--snapshot-every 20000 that is at most 3 min 20 s, for less than 0.1% of the time" in small


def test_the_interval_leaves_the_time_to_training() -> None:
    """A snapshot of VGG takes 11 s, an iteration half a second."""
    said = advice(100_000, 400_000, 0.5, 1100 * MIB, None, 5000 * GIB)
    assert said is not None
    assert "--snapshot-every 5000 that is at most 41 min 40 s, for 0.5% of the time" in said


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.456, "3.46 s"), (75, "1 min 15 s"), (6780, "1 h 53 min"), (273_600, "3 d 4 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
