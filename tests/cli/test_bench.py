"""The benchmarks: their arithmetic, and one short run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.helpers.processes import command

BENCH = (sys.executable, "-m", "tools.bench")


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
