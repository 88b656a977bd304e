"""The files that `--tensorboard` and `report --format tensorboard` write, as a real TensorBoard serves them.

The oracle is the recording.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from harness import diagnose
from harness.recording import Recording
from tests.helpers.commands import RUN, Trained, restart, train
from tests.helpers.mounts import run_with_mounts
from tests.helpers.nets import small_net, solver_text
from tests.helpers.paths import BIN, ROOT
from tests.helpers.preloaded import harness_command
from tests.helpers.processes import PATIENCE, Finished, command, started, wait_for

ITERATIONS, WINDOW = 45, (20, 23)
# 720 kB of weights: more than a message in a ring of 1 MiB can hold. It learns nothing but decays.
WIDE = """
layer { name: "wide" type: "InnerProduct" bottom: "conv2/b" top: "wide"
  inner_product_param { num_output: 300 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "nobody" type: "Silence" bottom: "wide" }"""
KINDS = ("weight", "gradient", "update")
RECORDED = {"shown": "shown", "exported": "plain"}  # the run directory with the recording

pytestmark = pytest.mark.usefixtures("one_blas_thread")


class Board:
    """A TensorBoard that serves all runs in a directory."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        address = wait_for(lambda: re.search(r"http://127\.0\.0\.1:\d+", log.read_text()), process, pause=0.05)
        self.address = address[0]

    def ask(self, what: str, **query: str) -> Any:
        url = f"{self.address}/data/plugin/{what}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return json.load(answer)

    def tags(self, plugin: str, run: Path) -> set[str]:
        return set(self.ask(f"{plugin}/tags").get(f"{run.name}/tensorboard", ()))

    def outcome(self, run: Path) -> str:
        """Wait for the last text that is written of `run`, after which everything is there, and return it."""
        wait_for(lambda: "outcome/text_summary" in self.tags("text", run), self.process, pause=0.05)
        return self.texts(run, "outcome")[-1][1]

    def texts(self, run: Path, tag: str) -> list[tuple[int, str]]:
        found = self.ask("text/text", run=f"{run.name}/tensorboard", tag=f"{tag}/text_summary")
        return [(one["step"], one["text"]) for one in found]

    def scalars(self, run: Path, tag: str) -> tuple[list[int], np.ndarray]:
        """Iterations and float32 values."""
        found = self.ask("scalars/scalars", run=f"{run.name}/tensorboard", tag=tag)
        return [int(step) for _, step, _ in found], np.array([float(value) for *_, value in found], np.float32)

    def histograms(self, run: Path, tag: str) -> dict[int, np.ndarray]:
        """The bins (n, 3), each its left end, right end and count, by iteration."""
        found = self.ask("histograms/histograms", run=f"{run.name}/tensorboard", tag=tag)
        return {int(step): np.array(bins) for _, step, bins in found}


def has_rows(out: Path, count: int) -> bool:
    """Check whether the recording in `out` has `count` iterations."""
    if not (out / "recording.h5").exists():
        return False
    with Recording(out) as recording:
        return len(recording.iterations) >= count


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    """The solver, and the runs: plain, shown (with --tensorboard), again (restarted), killed, diverged."""
    home = tmp_path_factory.mktemp("tensorboard")
    (home / "net.prototxt").write_text(small_net(digit_data, extra=WIDE))
    solvers: dict[str, dict[str, object]] = {
        "solver": {"max_iter": ITERATIONS},
        "long": {"max_iter": 100_000, "test_interval": 100},
        "wild": {"max_iter": 30, "base_lr": 1e4},
    }
    for name, fields in solvers.items():
        (home / f"{name}.prototxt").write_text(solver_text(home / "net.prototxt", home / "native", **fields))
    common = ("--watch", "{}:{}".format(*WINDOW), "--ring-mib", 1)
    check_quiet(train(home / "solver.prototxt", home / "plain", *common))
    check_quiet(train(home / "solver.prototxt", home / "shown", *common, "--tensorboard"))
    (home / "exported").mkdir()
    for _ in range(2):  # the second takes the place of the first
        export = (home / "plain", "--format", "tensorboard", "--out", home / "exported/tensorboard")
        check_quiet(harness_command("report", *export))
    later = ("--from", 25, "--watch", "30:31", "--out", home / "again")
    check_quiet(restart(home / "shown", *later, "--tensorboard"))
    wild = ("--solver", home / "wild.prototxt", "--out", home / "diverged", "--watch", "0:30", "--on-alarm", "continue")
    env = {"PYTHONWARNINGS": "error::RuntimeWarning"}
    check_quiet(command(sys.executable, RUN, *wild, "--tensorboard", env=env))

    killed = ("--solver", home / "long.prototxt", *common, "--tensorboard", "--out", home / "killed")
    with started(sys.executable, RUN, *killed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(partial(has_rows, home / "killed", 100), process, pause=0.02)
        (worker,) = (c for c in psutil.Process(process.pid).children() if "harness.worker.main" in c.cmdline())
        worker.kill()
        assert process.wait(PATIENCE) == 4
    return home


def check_quiet(finished: Trained | Finished) -> None:
    assert finished.code == 0, finished.stderr[-3000:]
    assert "Traceback" not in finished.stderr
    assert "Warning" not in finished.stderr
    assert "cannot be written" not in finished.stderr


@pytest.fixture(scope="module")
def board(home: Path) -> Iterator[Board]:
    arguments = ("--logdir", home, "--host", "127.0.0.1", "--port", "0")
    every = ("--samples_per_plugin", "scalars=1000000,histograms=1000")  # TensorBoard drops none of them
    log = home / "tensorboard.log"
    with log.open("w") as out, started(BIN / "tensorboard", *arguments, *every, stdout=out, stderr=out) as process:
        yield Board(process, log)


def check_series(board: Board, run: Path, recording: Recording) -> None:
    """Check that every number that is written at each iteration is the recorded one."""
    norms = {kind: np.linalg.norm(recording.stat(f"{kind}_l2").values, axis=1) for kind in KINDS}
    expected = {
        "loss/total": recording.series("loss"),
        "loss/smoothed": recording.series("smoothed_loss"),
        "solver/lr": recording.series("lr"),
        "solver/seconds": recording.series("seconds"),
        "norm_log10/update_to_weight": np.log10(norms["update"] / norms["weight"]),
    }
    expected |= {f"norm_log10/{kind}": np.log10(values) for kind, values in norms.items()}
    expected |= {f"loss/{name}": recording.output(name)[:, 0] for name in ("loss1/loss1", "loss3/loss3")}
    for tag, values in expected.items():
        steps, shown = board.scalars(run, tag)
        assert steps == list(recording.iterations), tag
        np.testing.assert_allclose(shown, values, rtol=1e-6, atol=1e-6, err_msg=tag)


def check_histogram(bins: np.ndarray, values: np.ndarray) -> None:
    """Check that every element is counted once, from the least to the greatest; numpy's histogram is the oracle."""
    left, right, counts = bins.T
    assert counts.sum() == pytest.approx(values.size, rel=1e-12)
    assert (left[0], right[-1]) == (values.min(), values.max())
    if len(bins) > 1:
        wanted, _ = np.histogram(values.astype(np.float64), np.append(left, right[-1]))
        # at the ends of its bins, a part of an array that came in several is not counted one by one
        assert np.abs(np.cumsum(counts) - np.cumsum(wanted)).max() <= max(2, 0.01 * values.size)


@pytest.mark.parametrize("name", ["shown", "exported"])
def test_every_number_is_the_recorded_one(board: Board, home: Path, name: str) -> None:
    run = home / name
    assert "Done: iteration 45" in board.outcome(run)
    with Recording(home / RECORDED[name]) as recording:
        assert len(recording.iterations) == ITERATIONS
        check_series(board, run, recording)

        displayed = sorted({*range(0, ITERATIONS, 7), *range(*WINDOW)})
        tags = {
            f"norm_log10_of_blobs/{kind}/{param.label}"
            for kind in KINDS
            for column, param in enumerate(recording.params)
            if recording.stat(f"{kind}_l2").values[:, column].any()
        }
        assert tags == {tag for tag in board.tags("scalars", run) if tag.startswith("norm_log10_of_blobs/")}
        for kind, label in (("weight", "conv1/3x3/0"), ("gradient", "conv2/a/1"), ("update", "loss3/classifier/0")):
            steps, shown = board.scalars(run, f"norm_log10_of_blobs/{kind}/{label}")
            norms = recording.stat(f"{kind}_l2")[label][displayed]
            assert steps == displayed
            np.testing.assert_allclose(shown, np.log10(norms), rtol=1e-6, atol=1e-6)

        for output in recording.test_outputs():
            iterations, values = recording.test(output)
            steps, shown = board.scalars(run, f"test/0/{output}")
            assert steps == list(iterations) == [0, 20, 40]
            assert np.array_equal(shown, values[:, 0])


def test_losses_come_first(board: Board, home: Path) -> None:
    board.outcome(home / "exported")
    groups = [tag.split("/")[0] for tag in sorted(board.tags("scalars", home / "exported"))]
    assert list(dict.fromkeys(groups)) == ["loss", "norm_log10", "norm_log10_of_blobs", "solver", "test"]


def test_a_norm_of_0_is_left_out(board: Board, home: Path) -> None:
    board.outcome(home / "exported")
    with Recording(home / "plain") as recording:
        assert not recording.stat("gradient_l2")["wide/0"].any()
    assert "norm_log10_of_blobs/gradient/wide/0" not in board.tags("scalars", home / "exported")


def test_the_batch_is_shown_as_images(board: Board, home: Path) -> None:
    """The batch of the first iteration in a window, where nothing broke; the oracle is the recorded input."""
    board.outcome(home / "exported")
    found = board.ask("images/tags")["exported/tensorboard"]
    with Recording(home / "plain") as recording:
        batch = diagnose(recording).batch()
        assert batch is not None
        keys = {key.decode() for key in recording.keys(batch.iteration)}
        data = recording.input(batch.iteration, "data")
    assert len(found) == len(batch)
    assert {re.fullmatch(r"batch/\d\d ([^,]+), label .*", tag)[1] for tag in found} == keys  # type: ignore[index]
    for tag in found:
        (shown,) = board.ask("images/images", run="exported/tensorboard", tag=tag, sample="0")
        assert shown["step"] == batch.iteration
        with urllib.request.urlopen(f"{board.address}/data/plugin/images/individualImage?{shown['query']}") as answer:
            pixels = cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_UNCHANGED)
        assert pixels is not None
        values = data[batch.keys.index(tag.split()[1].rstrip(","))]
        scaled = 255 * (values - data.min()) / (data.max() - data.min())
        assert np.abs(pixels.reshape(values.shape[1:]) - scaled[0]).max() <= 1


@pytest.mark.parametrize("name", ["shown", "exported"])
def test_histograms_count_every_element_of_a_window(board: Board, home: Path, name: str) -> None:
    run = home / name
    board.outcome(run)
    with Recording(home / RECORDED[name]) as recording:
        labels = {f"{kind}/{param.label}" for kind in KINDS for param in recording.params}
        assert board.tags("histograms", run) == labels
        for kind in KINDS:
            for param in recording.params:
                found = board.histograms(run, f"{kind}/{param.label}")
                assert list(found) == list(range(*WINDOW))
                for iteration, bins in found.items():
                    check_histogram(bins, getattr(recording, kind)(iteration, param.layer, param.index))


def test_tensorboard_does_not_change_the_run(home: Path) -> None:
    with Recording(home / "plain") as plain, Recording(home / "shown") as shown:
        assert np.array_equal(plain.series("digest"), shown.series("digest"))
        assert np.array_equal(plain.series("loss"), shown.series("loss"))
    assert not (home / "plain/tensorboard").exists()


def test_a_restarted_run_starts_at_its_first_iteration(board: Board, home: Path) -> None:
    run = home / "again"
    board.outcome(run)
    with Recording(run) as recording:
        assert recording.iterations[0] == 25
        check_series(board, run, recording)
    assert list(board.histograms(run, "gradient/conv1/3x3/0")) == [30]


def test_everything_recorded_before_the_worker_was_killed_is_there(board: Board, home: Path) -> None:
    run = home / "killed"
    assert "The worker died (killed by SIGKILL)" in board.outcome(run)
    with Recording(run) as recording:
        assert len(recording.iterations) >= 100
        check_series(board, run, recording)
    assert list(board.histograms(run, "weight/conv1/3x3/0")) == list(range(*WINDOW))


def test_non_finite_numbers_are_shown_and_alarms_are_texts(board: Board, home: Path) -> None:
    run = home / "diverged"
    board.outcome(run)
    with Recording(run) as recording:
        steps, shown = board.scalars(run, "norm_log10/weight")
        assert steps == list(recording.iterations)
        finite = np.all(np.isfinite(recording.stat("weight_l2").values), axis=1)
        assert not finite[-1]
        assert np.array_equal(np.isfinite(shown), finite)
        # the last weights are all not finite, and have no histogram
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


def test_a_run_that_cannot_write_for_tensorboard_goes_on(home: Path, tmp_path: Path) -> None:
    """On a disk of 64 KiB, with a file in the way, and on a full disk: the reason is printed once, all is recorded."""
    script = f"""
RUN="{sys.executable} {ROOT}/harness/run.py --tensorboard --solver"
$RUN {home}/solver.prototxt --watch 20:40 --out {tmp_path}/full 2> {tmp_path}/full.stderr & full=$!
$RUN {home}/solver.prototxt --watch 20:40 --out {tmp_path}/file 2> {tmp_path}/file.stderr & file=$!
for out in full file; do until [ -e {tmp_path}/$out/run.json ]; do sleep 0.01; done; done
touch {tmp_path}/file/tensorboard
mkdir {tmp_path}/full/tensorboard
mount -t tmpfs -o size=64k none {tmp_path}/full/tensorboard || exit 99
wait $full && wait $file || exit
[ $(df --output=avail {tmp_path}/full/tensorboard | tail -1) = 0 ] || exit 98

mkdir {tmp_path}/disk
mount -t tmpfs -o size=60m none {tmp_path}/disk || exit 99
$RUN {home}/long.prototxt --until 800 --snapshot-every 0 --out {tmp_path}/disk/run 2> {tmp_path}/scarce.stderr & run=$!
until grep -q 'Iteration 0,' {tmp_path}/disk/run/solver.log; do sleep 0.01; done 2> /dev/null
head -c $(( $(df --output=avail -B1 {tmp_path}/disk | tail -1) - (12 << 20) )) /dev/zero > {tmp_path}/disk/filler
wait $run || exit
mkdir {tmp_path}/scarce
cp {tmp_path}/disk/run/recording.h5 {tmp_path}/disk/run/run.json {tmp_path}/scarce
"""
    finished = run_with_mounts(script)
    assert finished.code == 0, (finished.stderr, *(p.read_text() for p in tmp_path.glob("*.stderr")))
    with Recording(home / "plain") as plain:
        for out in ("full", "file"):
            with Recording(tmp_path / out) as recording:
                assert np.array_equal(recording.series("digest"), plain.series("digest"))
                assert len(recording.window_iterations) == 20
    with Recording(tmp_path / "scarce") as recording:
        assert len(recording.iterations) == 800
    scarce = r"the disk has 1[0-2] MiB free, which the recording needs"
    for out, why in {"full": "No space left on device", "file": "File exists", "scarce": scarce}.items():
        said = (tmp_path / f"{out}.stderr").read_text()
        assert len(re.findall(rf"tensorboard cannot be written \({why}\); the run continues without it", said)) == 1, (
            said
        )
        assert "Traceback" not in said
        assert "Exception" not in said


def test_an_export_replaces_only_event_files(home: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    arguments = (home / "plain", "--format", "tensorboard", "--out", tmp_path)
    refused = harness_command("report", *arguments)
    assert refused.code == 2
    assert f"{tmp_path}: contains notes.txt, which is no event file. Give another --out" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
