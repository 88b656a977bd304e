"""The benchmarks: their arithmetic, and one short run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.processes import command
from tools.bench.memory import Memory
from tools.bench.restart import Replay
from tools.bench.rows import Row, median, ratio_row
from tools.bench.turns import Comparison

BENCH = (sys.executable, "-m", "tools.bench")


def test_a_ratio_is_the_median_over_neighbouring_turns() -> None:
    row = ratio_row("x", "", 1.05, Comparison(10, (1.0, 2.0, 4.0), (1.1, 2.0, 4.8), 7.0, 7.7))
    assert row.value == pytest.approx(1.1)
    assert row.low == pytest.approx(1.0)
    assert row.high == pytest.approx(1.2)
    assert not row.holds
    assert row.verdict == "NO?"
    assert "bare 200.0 ms an iteration; 3 pairs of 10; two bare turns differ by 100.0%; CPU time ×1.100" in row.detail


def test_the_interval_narrows_with_the_pairs() -> None:
    assert median(range(5)) == (0, 2.0, 4)
    assert median(range(20)) == (5, 9.5, 14)


@pytest.mark.parametrize(("value", "at_most", "holds"), [(1.0, True, True), (1.1, True, False), (1.1, False, True)])
def test_a_bound_is_from_above_or_from_below(value: float, at_most: bool, holds: bool) -> None:
    assert Row("x", "", value, "", 1.05, at_most).holds is holds


def test_a_row_without_a_bound_holds() -> None:
    row = Row("x", "", 9.0, "s")
    assert row.holds
    assert row.verdict == ""


def test_the_cost_of_a_replay_per_iteration() -> None:
    replay = Replay(iterations=100, iteration=0.5, seconds=3.0, built=1.0)
    assert replay.share == pytest.approx(0.06)
    assert replay.each == pytest.approx(0.02)


def test_growth_is_the_slope_after_the_first_half() -> None:
    iterations = np.arange(1000, 20_001, 1000)
    warm = np.where(iterations < 8000, 0, 50_000_000)
    memory = Memory(iterations, warm + 3 * iterations, warm, 0)
    assert memory.growth(memory.solver) == pytest.approx(3000)
    assert memory.worst == pytest.approx(3000)


def test_the_quick_benchmark_of_recording(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    done = command(*BENCH, "--quick", "--only", "lenet", "disk", "--pairs", "1", "--out", out)
    report = json.loads(out.read_text())
    assert done.code == (0 if all(row["holds"] for row in report["rows"]) else 1), done.stderr
    ratio, disk = report["rows"]
    assert ratio["value"] == pytest.approx(ratio["raw"]["harness"][0] / ratio["raw"]["bare"][0])
    assert disk["value"] > 0
    assert report["machine"]["blas"]["threads"] >= 1
    assert list(tmp_path.iterdir()) == [out]
    assert "what recording and an exact resume cost" in done.stdout.lower()


def test_the_quick_benchmark_of_resuming(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    names = ("seek", "seekable", "restart")
    done = command(*BENCH, "--quick", "--only", *names, "--pairs", "1", "--out", out)
    report = json.loads(out.read_text())
    assert done.code == (0 if all(row["holds"] for row in report["rows"]) else 1), done.stderr
    seek, seekable, reading, restart, repeated = report["rows"]
    totals = {int(t): sum(seconds.values()) for t, seconds in seek["raw"]["seconds"][0].items()}
    assert list(totals) == [0, 100_000, 1_000_000]
    assert seek["value"] == pytest.approx(totals[1_000_000] - totals[0])
    for row in (seekable, reading):
        assert row["value"] == pytest.approx(row["raw"]["harness"][0] / row["raw"]["bare"][0])
    assert (seekable["bound"], reading["bound"]) == (1.05, None)
    assert restart["value"] == pytest.approx(restart["raw"]["again"][0] / restart["raw"]["anew"][0])
    assert repeated["raw"]["iterations"] == 200
    share = repeated["raw"]["seconds"] / repeated["raw"]["iteration"] / 200
    assert repeated["value"] == pytest.approx(100 * share)
    assert list(tmp_path.iterdir()) == [out]
