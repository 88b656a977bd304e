"""What `--tensorboard` writes, as a real TensorBoard serves it. The oracle is the recording of the same run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from harness.recording import Recording
from tests.helpers.commands import restart, run_harness
from tests.helpers.nets import small_net, solver_text
from tests.helpers.paths import BIN, ROOT
from tests.helpers.processes import Finished

PATIENCE = 60.0  # seconds: far beyond what anything here takes
ITERATIONS, WINDOW = 45, (20, 23)
# 720 kB of weights: more than a message in a ring of 1 MiB can hold. It learns nothing but decays.
WIDE = """
layer { name: "wide" type: "InnerProduct" bottom: "conv2/b" top: "wide"
  inner_product_param { num_output: 300 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "nobody" type: "Silence" bottom: "wide" }"""
KINDS = ("weight", "gradient", "update")

pytestmark = pytest.mark.usefixtures("one_blas_thread")


class Board:
    """A TensorBoard that serves all runs below `logdir`."""

    def __init__(self, logdir: Path) -> None:
        self._log = logdir / "tensorboard.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(BIN / "tensorboard", "--logdir", logdir, "--host", "127.0.0.1", "--port", "0"),
                    *("--samples_per_plugin", "scalars=1000000,histograms=1000"),  # no choice of them
                ],
                stdout=log,
                stderr=log,
            )
        self.address = self._wait(lambda: re.search(r"http://127\.0\.0\.1:\d+", self._log.read_text()))[0]

    def _wait(self, look: Any) -> Any:
        give_up = time.monotonic() + PATIENCE
        while not (found := look()):
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < give_up, self._log.read_text()
            time.sleep(0.05)
        return found

    def ask(self, what: str, **query: str) -> Any:
        url = f"{self.address}/data/plugin/{what}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return json.load(answer)

    def tags(self, plugin: str, run: Path) -> set[str]:
        return set(self.ask(f"{plugin}/tags").get(f"{run.name}/tensorboard", ()))

    def outcome(self, run: Path) -> str:
        """The last thing written of `run`: when it is there, so is all the rest."""
        self._wait(lambda: "outcome/text_summary" in self.tags("text", run))
        return self.texts(run, "outcome")[-1][1]

    def texts(self, run: Path, tag: str) -> list[tuple[int, str]]:
        found = self.ask("text/text", run=f"{run.name}/tensorboard", tag=f"{tag}/text_summary")
        return [(one["step"], one["text"]) for one in found]

    def scalars(self, run: Path, tag: str) -> tuple[list[int], np.ndarray]:
        """Iterations, and float32 values."""
        found = self.ask("scalars/scalars", run=f"{run.name}/tensorboard", tag=tag)
        return [int(step) for _, step, _ in found], np.array([float(value) for *_, value in found], np.float32)

    def histograms(self, run: Path, tag: str) -> dict[int, np.ndarray]:
        """(n, 3) left end, right end and count of every bin, by iteration."""
        found = self.ask("histograms/histograms", run=f"{run.name}/tensorboard", tag=tag)
        return {int(step): np.array(bins) for _, step, bins in found}


def until_rows(out: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the recording in `out` has `count` iterations."""
    give_up = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None
        assert time.monotonic() < give_up
        if (out / "recording.h5").exists():
            with Recording(out) as recording:
                if len(recording.iterations) >= count:
                    return
        time.sleep(0.02)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    """The solver, and the runs: plain, shown (with --tensorboard), again (restarted), killed, diverged."""
    home = tmp_path_factory.mktemp("tensorboard")
    (home / "net.prototxt").write_text(small_net(digit_data, extra=WIDE))
    for name, fields in {
        "solver": {"max_iter": ITERATIONS},
        "long": {"max_iter": 100_000, "test_interval": 100},
        "wild": {"max_iter": 30, "base_lr": 1e4},
    }.items():
        (home / f"{name}.prototxt").write_text(solver_text(home / "net.prototxt", home / "native", **fields))
    common = ("--watch", "{}:{}".format(*WINDOW), "--ring-mib", 1)
    one = ("--solver", home / "solver.prototxt", *common)
    done(run_harness(*one, "--out", home / "plain"))
    done(run_harness(*one, "--tensorboard", "--out", home / "shown"))
    again = restart(home / "shown", "--from", 25, "--tensorboard", "--watch", "30:31", "--out", home / "again")
    done(again)

    wild = ("--solver", home / "wild.prototxt", "--watch", "0:30", "--tensorboard", "--out", home / "diverged")
    done(run_harness(*wild, PYTHONWARNINGS="error::RuntimeWarning"))

    killed = ("--solver", home / "long.prototxt", *common, "--tensorboard", "--out", home / "killed")
    process = subprocess.Popen(
        [sys.executable, ROOT / "harness/run.py", *map(str, killed)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ),
    )  # fmt: skip
    try:
        until_rows(home / "killed", 100, process)
        (solver,) = (c for c in psutil.Process(process.pid).children() if "harness.worker.main" in c.cmdline())
        solver.kill()
        assert process.wait(PATIENCE) == 4
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
            child.kill()
        process.kill()
        process.wait()
    return home


def done(finished: Finished) -> None:
    assert finished.code == 0, finished.stderr[-3000:]
    assert "Traceback" not in finished.stderr
    assert "Warning" not in finished.stderr
    assert "cannot be written" not in finished.stderr


@pytest.fixture(scope="module")
def board(home: Path) -> Iterator[Board]:
    board = Board(home)
    try:
        yield board
    finally:
        board.process.terminate()
        board.process.wait(PATIENCE)


def check_series(board: Board, run: Path, recording: Recording) -> None:
    """Every number that comes with every iteration is the recorded one, at its iteration."""
    norms = {kind: np.linalg.norm(recording.stat(f"{kind}_l2").values, axis=1) for kind in KINDS}
    expected = {
        "loss/total": recording.series("loss"),
        "loss/smoothed": recording.series("smoothed_loss"),
        "solver/lr": recording.series("lr"),
        "solver/seconds": recording.series("seconds"),
        "norm/update_to_weight": norms["update"] / norms["weight"],
    }
    expected |= {f"norm/{kind}": values for kind, values in norms.items()}
    expected |= {f"output/{name}": recording.output(name)[:, 0] for name in recording.outputs}
    assert {"output/loss1/loss1", "output/loss3/loss3"} <= set(expected)
    for tag, values in expected.items():
        steps, shown = board.scalars(run, tag)
        assert steps == list(recording.iterations), tag
        np.testing.assert_allclose(shown, values, rtol=1e-6, err_msg=tag)


def check_histogram(bins: np.ndarray, values: np.ndarray) -> None:
    """They count every element once, from the least to the greatest; in between, numpy's histogram is the oracle."""
    left, right, counts = bins.T
    assert counts.sum() == pytest.approx(values.size, rel=1e-12)
    assert (left[0], right[-1]) == (values.min(), values.max())
    if len(bins) > 1:
        wanted, _ = np.histogram(values.astype(np.float64), np.append(left, right[-1]))
        # at the ends of its bins, a part of an array that came in several is not counted one by one
        assert np.abs(np.cumsum(counts) - np.cumsum(wanted)).max() <= max(2, 0.01 * values.size)


def test_every_number_is_the_recorded_one(board: Board, home: Path) -> None:
    run = home / "shown"
    assert "Done: iteration 45" in board.outcome(run)
    with Recording(run) as recording:
        assert len(recording.iterations) == ITERATIONS
        check_series(board, run, recording)

        displayed = sorted({*range(0, ITERATIONS, 7), *range(*WINDOW)})
        tags = {f"{kind}_l2/{param.label}" for kind in KINDS for param in recording.params}
        assert tags <= board.tags("scalars", run)
        for tag in ("weight_l2/conv1/3x3/0", "gradient_l2/conv2/a/1", "update_l2/loss3/classifier/0"):
            steps, shown = board.scalars(run, tag)
            name, _, label = tag.partition("/")
            assert steps == displayed
            np.testing.assert_allclose(shown, recording.stat(name)[label][displayed], rtol=1e-6)

        for name in recording.test_outputs():
            iterations, values = recording.test(name)
            steps, shown = board.scalars(run, f"test/0/{name}")
            assert steps == list(iterations) == [0, 20, 40]
            assert np.array_equal(shown, values[:, 0])


def test_histograms_count_every_element_of_a_window(board: Board, home: Path) -> None:
    run = home / "shown"
    board.outcome(run)
    with Recording(run) as recording:
        labels = {f"{kind}/{param.label}" for kind in KINDS for param in recording.params}
        assert board.tags("histograms", run) == labels
        for kind in KINDS:
            for param in recording.params:
                found = board.histograms(run, f"{kind}/{param.label}")
                assert list(found) == list(range(*WINDOW))
                for iteration, bins in found.items():
                    check_histogram(bins, getattr(recording, kind)(iteration, param.layer, param.index))


def test_it_changes_nothing(home: Path) -> None:
    with Recording(home / "plain") as plain, Recording(home / "shown") as shown:
        assert np.array_equal(plain.series("digest"), shown.series("digest"))
        assert np.array_equal(plain.series("loss"), shown.series("loss"))
    assert not (home / "plain/tensorboard").exists()


def test_a_restarted_run_begins_at_its_first_iteration(board: Board, home: Path) -> None:
    run = home / "again"
    board.outcome(run)
    with Recording(run) as recording:
        assert recording.iterations[0] == 25
        check_series(board, run, recording)
    assert list(board.histograms(run, "gradient/conv1/3x3/0")) == [30]


def test_all_that_was_recorded_before_the_solver_was_killed_is_there(board: Board, home: Path) -> None:
    run = home / "killed"
    assert "The worker died (killed by SIGKILL)" in board.outcome(run)
    with Recording(run) as recording:
        assert len(recording.iterations) >= 100
        check_series(board, run, recording)
    assert list(board.histograms(run, "weight/conv1/3x3/0")) == list(range(*WINDOW))


def test_numbers_that_are_not_finite_are_shown_and_alarms_are_texts(board: Board, home: Path) -> None:
    run = home / "diverged"
    board.outcome(run)
    with Recording(run) as recording:
        steps, shown = board.scalars(run, "norm/weight")
        assert steps == list(recording.iterations)
        finite = np.isfinite(recording.stat("weight_l2").values).all(axis=1)
        assert not finite[-1]
        assert np.array_equal(np.isfinite(shown), finite)
        # of the last weights nothing is finite, and no histogram can be drawn
        values = {t: recording.weight(t, "conv1/3x3") for t in range(30)}
        found = board.histograms(run, "weight/conv1/3x3/0")
        assert list(found) == [t for t, kept in values.items() if np.isfinite(kept).any()]
        assert len(found) < 30
        for iteration, bins in found.items():
            check_histogram(bins, values[iteration][np.isfinite(values[iteration])])

        assert recording.alarms
        for alarm in recording.alarms:
            tag = f"alarm/{alarm.rule}/{alarm.subject}" if alarm.subject else f"alarm/{alarm.rule}"
            assert alarm.iteration in [step for step, _ in board.texts(run, tag)]
        ((step, text),) = board.texts(run, "onset")
        assert f"Onset: iteration {step}" in text


def test_without_a_place_to_write_the_run_goes_on(home: Path, tmp_path: Path) -> None:
    """64 KiB are all there is; there is a file in its place; another fills the disk, and the recording needs the rest.

    Each is said once, and everything is recorded.
    """
    script = f"""
RUN="{sys.executable} {ROOT}/harness/run.py --tensorboard --solver"
$RUN {home}/solver.prototxt --watch 20:40 --out {tmp_path}/full 2> {tmp_path}/full.said & full=$!
$RUN {home}/solver.prototxt --watch 20:40 --out {tmp_path}/file 2> {tmp_path}/file.said & file=$!
for out in full file; do until [ -e {tmp_path}/$out/run.json ]; do sleep 0.01; done; done
touch {tmp_path}/file/tensorboard
mkdir {tmp_path}/full/tensorboard
mount -t tmpfs -o size=64k none {tmp_path}/full/tensorboard || exit 99
wait $full && wait $file || exit
[ $(df --output=avail {tmp_path}/full/tensorboard | tail -1) = 0 ] || exit 98

mkdir {tmp_path}/disk
mount -t tmpfs -o size=60m none {tmp_path}/disk || exit 99
$RUN {home}/long.prototxt --until 800 --snapshot-every 0 --out {tmp_path}/disk/run 2> {tmp_path}/scarce.said & run=$!
until grep -q 'Iteration 0,' {tmp_path}/disk/run/solver.log; do sleep 0.01; done 2> /dev/null
head -c $(( $(df --output=avail -B1 {tmp_path}/disk | tail -1) - (12 << 20) )) /dev/zero > {tmp_path}/disk/filler
wait $run || exit
mkdir {tmp_path}/scarce
cp {tmp_path}/disk/run/recording.h5 {tmp_path}/disk/run/run.json {tmp_path}/scarce
"""
    rootless = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    finished = subprocess.run(
        ["unshare", *rootless, "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    assert finished.returncode == 0, (finished.stderr, *(p.read_text() for p in tmp_path.glob("*.said")))
    with Recording(home / "plain") as plain:
        for out in ("full", "file"):
            with Recording(tmp_path / out) as recording:
                assert np.array_equal(recording.series("digest"), plain.series("digest"))
                assert len(recording.window_iterations) == 20
    with Recording(tmp_path / "scarce") as recording:
        assert len(recording.iterations) == 800
    scarce = r"the disk has 1[0-2] MiB free, which the recording needs"
    for out, why in {"full": "No space left on device", "file": "File exists", "scarce": scarce}.items():
        said = (tmp_path / f"{out}.said").read_text()
        assert len(re.findall(rf"tensorboard cannot be written \({why}\); the run continues without it", said)) == 1, (
            said
        )
        assert "Traceback" not in said
        assert "Exception" not in said
