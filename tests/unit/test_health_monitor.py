"""The health monitor of the supervisor, fed with events as the worker sends them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.diagnosis.live.health import Health
from harness.diagnosis.live.limits import read_limits
from harness.schemas.events import Frames, SnapshotTaken
from harness.schemas.layout import STATS, Layout
from harness.supervisor.health_monitor import HealthMonitor
from tests.helpers.recordings import layout_of

DISPLAY, BREAK = 20, 104


def broken_run(layout: Layout, count: int = 130) -> np.ndarray:
    """Frames of a run whose loss jumps at iteration BREAK, and stays there."""
    random = np.random.default_rng(0)
    frames = np.zeros(count, layout.frame_dtype)
    frames["iteration"] = np.arange(count)
    loss = 0.2 + 0.9 * np.exp(-np.arange(count) / 20) + 0.01 * random.normal(size=count)
    loss[BREAK:] = 5.0
    frames["loss"] = frames["output"][:, 0] = loss
    frames["stat"] = 1.0
    frames["stat"][:, list(STATS).index("gradient_nonfinite")] = 0
    frames["stat"][:, list(STATS).index("update_l2")] = 0.001
    return frames


@pytest.mark.parametrize("size", [1, 7, 130])
def test_the_last_good_snapshot_is_the_same_from_the_first_alarm_on(tmp_path: Path, size: int) -> None:
    """Even one that arrives with the iterations that raise the alarm, and has not been reviewed yet."""
    layout = layout_of()
    monitor = HealthMonitor(Health(DISPLAY, 0, read_limits()), tmp_path, None)
    monitor.receive(layout)
    frames, seen = broken_run(layout), []
    for start in range(0, len(frames), size):
        part = frames[start : start + size]
        monitor.receive(Frames(part))
        for iteration in (40, 80, 120):
            if iteration - 1 in part["iteration"]:
                name = f"x_iter_{iteration}"
                files = (f"{name}.caffemodel", f"{name}.solverstate", f"{name}.json")
                monitor.receive(SnapshotTaken(iteration, "0" * 16, *files))
        _, divergences = monitor.alarms()
        if divergences:
            seen.append(monitor.divergence(divergences[0]))
    assert seen
    for found in (*seen, monitor.divergence(None)):
        assert found is not None
        assert (found.onset.iteration, found.last_good) == (BREAK, 80)


def test_a_snapshot_that_is_gone_is_reported_and_nothing_stops(tmp_path: Path) -> None:
    """A user may move old snapshots away while a run with --keep-snapshots goes on."""
    layout = layout_of()
    monitor = HealthMonitor(Health(DISPLAY, 0, read_limits()), tmp_path, 1)
    monitor.receive(layout)
    monitor.receive(Frames(broken_run(layout)[:50]))
    monitor.alarms()
    monitor.receive(SnapshotTaken(40, "0" * 16, "a.caffemodel", "a.solverstate", "a.json"))
    messages: list[str] = []
    monitor.review_snapshots(messages.append)
    monitor.review_snapshots(messages.append)
    (message,) = messages
    assert message.startswith("The health of a snapshot was not written, or an old one not removed: ")
    assert f"{tmp_path}/a.json: cannot be read (No such file" in message
