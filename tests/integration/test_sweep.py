"""A sweep makes restarts as restart.py does, compares them with their parent, and goes on after an interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.recording import Recording, run_directory
from harness.recording.result_files import read_sweep
from harness.studies.held_directory import held
from tests.helpers.commands import restart, train
from tests.helpers.outlying_records import ONSET, OUTLYING, key_of, write_records, write_training
from tests.helpers.paths import ROOT
from tests.helpers.preloaded import harness_command
from tests.helpers.processes import Finished, started, wait_for

pytestmark = pytest.mark.usefixtures("one_blas_thread")

START, UNTIL, SPAN = 40, 100, 10
END = 1500  # far enough to interrupt it twice before
RECORDS = ",".join(key_of(number) for number in OUTLYING)
TEST_DATA = """layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: TEST }}
  transform_param {{ crop_size: 5 }} data_param {{ source: "{source}" batch_size: 8 backend: LMDB }} }}
"""
ACCURACY = """
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy" include { phase: TEST } }
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a net with a test net, which three records break."""
    home = tmp_path_factory.mktemp("sweeps")
    source = write_records(home / "lmdb")
    solver = write_training(home, source, max_iter=END, snapshot=40, test_iter=2, test_interval=30)
    net = (home / "net.prototxt").read_text().replace('top: "label"', 'top: "label" include { phase: TRAIN }', 1)
    (home / "net.prototxt").write_text(TEST_DATA.format(source=source) + net + ACCURACY)
    return train(solver, home / "run", "--until", 120, "--black-box-mib", 0).run


@pytest.fixture(scope="module")
def swept(run: Path) -> Finished:
    words = (
        "--set",
        "base_lr=0.3,0.01",
        "--set",
        "clip_gradients=-1,1",
        "--list",
        "--candidate",
        f"without: --skip-records {RECORDS}",
    )
    return sweep(run, *words, "--until", UNTIL)


def sweep(*words: object) -> Finished:
    return harness_command("sweep", *words, "--from", START)


def study(run: Path) -> Path:
    return run.with_name(f"run-sweep-from-{START}")


def median(run: Path, stop: int) -> float:
    with Recording(run) as recording:
        times, losses = recording.iterations, recording.series("loss")
    return float(np.median(losses[(times >= stop - SPAN) & (times < stop)]))


def test_each_restart_is_compared_with_the_run(run: Path, swept: Finished) -> None:
    assert swept.code == 0, swept.stderr
    assert f"3 restarts to iteration {UNTIL}" in swept.stderr
    found = read_sweep(study(run))
    assert found is not None
    legs = {leg.name: leg for leg in found.legs}
    broken = legs["base_lr=0.3-clip_gradients=-1"]
    assert (broken.code, broken.onset) == (3, ONSET)
    assert "diverged at 45" in swept.stdout
    healthy = [leg for leg in found.legs if leg.code == 0]
    assert legs["without"] in healthy
    for leg in healthy:
        assert leg.last == UNTIL
        assert leg.loss == pytest.approx(median(study(run) / leg.run, UNTIL))
        assert leg.parent_loss == pytest.approx(median(run, UNTIL))
        assert (leg.tested, set(leg.test)) == (90, {"accuracy", "loss"})
        with Recording(run) as recording:
            times, values = recording.test("accuracy")
            assert leg.parent_test["accuracy"] == pytest.approx(values[times == 90].item())
    assert found.best == min(healthy, key=lambda leg: leg.loss or 0.0).name
    assert f"Best: {found.best}" in swept.stdout
    with Image.open(study(run) / "losses.png") as figure:
        assert figure.width > 1000


def test_a_restart_of_a_sweep_has_the_weights_of_that_restart(run: Path, swept: Finished) -> None:
    alone = run.with_name("alone")
    restart(
        run, "--from", START, "--set", "base_lr=0.01", "--set", "clip_gradients=1", "--until", UNTIL, "--out", alone
    )
    ends = [run_directory.read_info(path).ended for path in (alone, study(run) / "base_lr=0.01-clip_gradients=1")]
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[0].weight_digest == ends[1].weight_digest


def test_another_sweep_adds_to_the_study_and_makes_nothing_twice(run: Path, swept: Finished) -> None:
    before = (study(run) / "base_lr=0.01-clip_gradients=1/recording.h5").stat().st_mtime_ns
    done = sweep(
        run, "--set", "base_lr=0.01", "--set", "clip_gradients=1", "--until", UNTIL, "--best", "test:accuracy", "--json"
    )
    assert done.code == 0, done.stderr
    assert "1 of them made already" in done.stderr
    found = json.loads(done.stdout)
    assert len(found["legs"]) == 3
    best = max((leg for leg in found["legs"] if leg["code"] == 0), key=lambda leg: leg["test"]["accuracy"])
    assert found["best"] == best["name"]
    assert (study(run) / "base_lr=0.01-clip_gradients=1/recording.h5").stat().st_mtime_ns == before
    all_broken = sweep(run, "--set", "base_lr=0.3", "--set", "clip_gradients=-1", "--until", UNTIL)
    assert all_broken.code == 3


def test_another_sweep_of_the_same_study_is_refused_meanwhile(run: Path, swept: Finished) -> None:
    before = read_sweep(study(run))
    with held(study(run), "it is busy", run):
        done = sweep(run, "--set", "base_lr=0.02", "--until", UNTIL)
    assert done.code == 2
    assert f"another command makes restarts in {study(run)} (process" in done.stderr
    assert read_sweep(study(run)) == before


def test_the_same_command_goes_on(run: Path) -> None:
    out = run.with_name("a study that was stopped")
    words = [run, "--skip-records", RECORDS, "--set", "base_lr=0.01", "--until", END, "--out", out]
    for how, name in (
        (signal.SIGKILL, "base_lr=0.01-skip_records-3"),
        (signal.SIGINT, "base_lr=0.01-skip_records-3.part2"),
    ):
        leg = out / name
        with started(
            *(sys.executable, ROOT / "harness/sweep.py", *words, "--from", START),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            wait_for(lambda leg=leg: any(leg.glob("snapshots/*.json")), process)  # type: ignore[misc]
            os.kill(process.pid, how)
            assert process.wait(60) == (130 if how == signal.SIGINT else -how)
        ended = wait_for(lambda leg=leg: run_directory.read_info(leg).ended)  # type: ignore[misc]
        assert ended.code == 130  # with a snapshot, although its command was killed
    done = sweep(*words)
    assert done.code == 0, done.stderr
    found = read_sweep(out)
    assert found is not None
    assert [(leg.code, leg.last, leg.run) for leg in found.legs] == [(0, END, "base_lr=0.01-skip_records-3.part3")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing is to be changed"),
        (("--set", "base_lr=0.1,x"), "x is not a number"),
        (("--set", "base_lr=0.1", "--set", "momentun=0.9,0.8"), "Did you mean momentum or"),
        (("--set", "base_lr=0.1", "--best", "test:accurate"), "Give loss or test:accuracy or test:loss"),
        (("--list", "--set", "base_lr=1,2", "--seed", "1,2,3"), "has 2 values, and another option has 3"),
        (("--set", "base_lr=0.1", "--until", 30), "--until 30"),
        (("--skip", "45:46,47", "--seed", "1"), "--skip"),
        (("--candidate", "name: --weights x"), "--candidate"),
    ],
)
def test_bad_input_is_one_error_before_anything_starts(run: Path, words: tuple[object, ...], said: str) -> None:
    out = run.with_name("nothing")
    done = sweep(run, *words, "--out", out)
    assert done.code == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
