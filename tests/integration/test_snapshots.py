"""Snapshots: taken on request, thinned without losing the last good one, each with the health of the run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness.recording import Recording
from tests.helpers.commands import RUN, restart, train
from tests.helpers.nets import small_net, solver_text
from tests.helpers.processes import started, wait_for

pytestmark = pytest.mark.usefixtures("one_blas_thread")


def kept(run: Path) -> list[int]:
    """Iterations of the snapshots in `run`, all three files of each there."""
    abouts = [json.loads(path.read_text()) for path in (run / "snapshots").glob("*.json")]
    for about in abouts:
        assert (run / "snapshots" / about["caffemodel"]).is_file()
        assert (run / "snapshots" / about["solverstate"]).is_file()
    assert len([p for p in (run / "snapshots").iterdir() if p.is_file()]) == 3 * len(abouts)
    return sorted(about["iteration"] for about in abouts)


def write_solver(home: Path, data: Path, **fields: object) -> Path:
    (home / "net.prototxt").write_text(small_net(data))
    values = {"test_iter": None, "test_interval": None, "lr_policy": '"fixed"'} | fields
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "run", **values))
    return home / "solver.prototxt"


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    """A run whose learning rate is raised a thousandfold at iteration 120: NaN soon after; snapshots are thinned."""
    home = tmp_path_factory.mktemp("diverged")
    fields = {
        "lr_policy": '"multistep"',
        "gamma": 1000,
        "stepvalue": 120,
        "max_iter": 200,
        "snapshot": 10,
        "display": 5,
    }
    solver = write_solver(home, digit_data, **fields)
    train(solver, home / "run", "--keep-snapshots", 2, "--on-alarm", "continue")
    return home / "run"


def test_a_healthy_run_keeps_the_newest_and_possible_restart_points(tmp_path: Path, digit_data: Path) -> None:
    solver = write_solver(tmp_path, digit_data, max_iter=200, snapshot=10, display=5)
    train(solver, tmp_path / "run", "--keep-snapshots", 2)
    left = kept(tmp_path / "run")
    assert left[-2:] == [190, 200]
    assert 140 <= left[0] <= 150  # ten display intervals before the end: a divergence may take as long to show
    health = json.loads((tmp_path / "run/snapshots/run_iter_190.json").read_text())["health"]
    assert health["onset"] is None
    assert 150 < health["through"] <= 200


def test_the_last_good_snapshot_survives_and_restarts(diverged: Path, tmp_path: Path) -> None:
    with Recording(diverged) as recording:
        assert not np.isfinite(recording.series("loss")[-1])
    left = kept(diverged)
    assert left[-2:] == [190, 200]
    assert 110 in left
    onset = json.loads((diverged / "snapshots/run_iter_200.json").read_text())["health"]["onset"]
    assert 119 <= onset["iteration"] <= 123
    done = restart(diverged, "--set", "gamma=1", "--out", tmp_path / "child")
    assert "at iteration 110: the newest snapshot followed by at least 5 healthy iterations" in done.stderr
    with Recording(tmp_path / "child") as recording:
        assert recording.series("loss")[-20:].mean() < 1


def test_a_run_without_a_good_snapshot_is_refused(tmp_path: Path, digit_data: Path) -> None:
    solver = write_solver(tmp_path, digit_data, base_lr=5, max_iter=60, snapshot=30, display=5)
    train(solver, tmp_path / "run", "--on-alarm", "continue")
    done = restart(tmp_path / "run", "--set", "base_lr=0.01", "--out", tmp_path / "child", code=2)
    said = done.stderr.replace("\n", " ")
    assert "nothing good to restart from: training went wrong at iteration" in said
    assert "snapshots: 30, 60" in said
    assert "--from 0" in said
    restart(tmp_path / "run", "--set", "base_lr=0.01", "--from", 0, "--out", tmp_path / "child")


def test_sigusr1_takes_a_snapshot(tmp_path: Path, digit_data: Path) -> None:
    """It is taken after the current iteration, and resumes exactly."""
    solver = write_solver(tmp_path, digit_data, max_iter=100000, snapshot=0, display=0)
    log, snapshots = tmp_path / "run/solver.log", tmp_path / "run/snapshots"
    arguments = (sys.executable, RUN, "--solver", solver, "--out", tmp_path / "run")
    with started(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: log.exists() and "Solving" in log.read_text(), process, pause=0.02)
        process.send_signal(signal.SIGUSR1)
        wait_for(lambda: len(list(snapshots.glob("*.json"))) == 1, process, pause=0.02)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    first, last = kept(tmp_path / "run")
    restart(tmp_path / "run", "--from", first, "--until", last, "--out", tmp_path / "again")
    with Recording(tmp_path / "run") as run, Recording(tmp_path / "again") as again:
        assert np.array_equal(run.series("digest")[first:], again.series("digest"))
