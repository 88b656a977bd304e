"""readlog.py on logs that hold little, and its pictures."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes

from harness.caffe_files.log_header import LogHeader
from harness.caffe_log.reader import read_path
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.logged.examine import examine
from harness.readlog import main
from harness.reports.figures.log import log_figure
from harness.reports.log_result import LogResult
from tests.helpers.made_up_logs import as_json
from tests.helpers.paths import CASE
from tests.helpers.short_logs import BEGUN, COLLAPSED, FATAL, STAMP, learning, run_of, shown

pytestmark = pytest.mark.usefixtures("one_blas_thread")


def test_one_bad_log_does_not_affect_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.log").write_text("hello\n")
    logs = [str(tmp_path / "other.log"), str(CASE), str(tmp_path / "nowhere.log")]
    assert main([*logs, "--json", "--plot", str(tmp_path / "x.png")]) == 2
    done = capsys.readouterr()
    assert [Path(run["log"]).name for run in json.loads(done.out)["runs"]] == ["case.log"]
    assert [line.startswith("error: /") for line in done.err.splitlines()] == [True, True]
    assert "no training run in it" in done.err
    assert "nowhere.log: cannot be read" in done.err
    assert (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("", "A run starts here and has not displayed anything yet."),
        (FATAL, "A run starts here and died before it displayed anything."),
        (f"{STAMP} solver.cpp:326] Optimization Done.\n", "A run starts here and ended without displaying anything"),
    ],
)
def test_a_run_without_a_display(end: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    log.write_text(BEGUN + end)
    found = as_json(log, "--plot", str(tmp_path / "log.svg"), capsys=capsys)
    assert (found["verdict"], found["displays"], found["iterations"]) == ("unknown", 0, None)
    assert found["findings"][0].startswith(said)
    assert (found["fatal"] is not None) == (end == FATAL)
    assert any("out of memory" in sentence for sentence in found["findings"]) == (end == FATAL)
    assert "nothing displayed" in (tmp_path / "log.svg").read_text()
    assert main([str(log)]) == 0
    assert re.search(r"1 +– +0 +unknown +– +-$", capsys.readouterr().out, re.MULTILINE)
    assert main([str(log), "--csv"]) == 0
    assert capsys.readouterr().out == "log,run,iteration,loss,lr\n"


def test_a_run_that_died_at_once_and_its_repetition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    log.write_text(BEGUN + FATAL + run_of(learning(100)))
    first, second = as_json(log, capsys=capsys)["runs"]
    assert (first["verdict"], first["iterations"], second["verdict"]) == ("unknown", None, "healthy")
    assert "out of memory" in " ".join(first["findings"])
    assert second["fatal"] is None


def test_lines_times_and_the_last_good_snapshot_are_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def snapshot(iteration: int) -> str:
        return f"{STAMP} solver.cpp:454] Snapshotting to binary proto file x_iter_{iteration}.caffemodel\n"

    at = 3000 // 20
    text = run_of(COLLAPSED[:at]) + snapshot(2900)
    text += "".join(shown(20 * row, float(COLLAPSED[row])) for row in range(at, len(COLLAPSED))) + snapshot(3500)
    (tmp_path / "log").write_text("x\n" + text)
    found = as_json(tmp_path / "log", capsys=capsys)
    assert found["jump_iteration"] == 3000
    assert found["lines"] == [2, 1 + len(text.splitlines())]
    assert (found["started"], found["last"]) == ("0515 08:44:41.838122", "0515 08:44:41.838122")
    assert found["last_good_snapshot"] == {"iteration": 2900, "file": "x_iter_2900.caffemodel"}
    newest = "The newest snapshot from before the onset is of iteration 2,900: x_iter_2900.caffemodel"
    assert newest in found["findings"]
    assert found["findings"][-1].startswith("To see what every layer did there")


def test_outputs_and_solvers_that_were_left_out_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orphans = "".join(shown(0, 2.3, heads=(1.0, 1.3)).splitlines(keepends=True)[1:3])
    ranks = "".join(
        shown(20 * row, float(loss), mark=f"[0.{rank}] ", heads=(float(loss),))
        for row, loss in enumerate(learning(100))
        for rank in range(3)
    )
    (tmp_path / "log").write_text(orphans + ranks)
    found = as_json(tmp_path / "log", capsys=capsys)
    assert (found["displays"], found["other_solvers"]) == (100, 2)
    said = " ".join(found["findings"])
    assert "2 outputs belong to a display that is not in the log." in said
    assert "3 ranks (GPUs, processes) printed to the log. Only rank 0.0 was read." in said
    assert "damaged" not in said


def drawn(tmp_path: Path, text: str) -> list[Axes]:
    """The panels of the picture of a log."""
    (tmp_path / "log").write_text(text)
    log = read_path(str(tmp_path / "log"))
    limits = read_limits()
    runs = [
        LogResult(log, n, n == len(log.runs), run, examine(run, LogHeader(), limits), LogHeader(), None)
        for n, run in enumerate(log.runs, 1)
    ]
    assert main([str(tmp_path / "log"), "--plot", str(tmp_path / "log.png")]) == 0
    assert cv2.imread(str(tmp_path / "log.png")) is not None
    return log_figure(runs).axes


def texts(axes: Axes) -> str:
    return " | ".join(text.get_text() for text in axes.texts)


@pytest.mark.filterwarnings("error")
def test_earlier_runs_are_in_the_picture(tmp_path: Path) -> None:
    loss, rate = drawn(tmp_path, run_of(COLLAPSED) + run_of(learning(50, 0.2), 3000))
    assert len(loss.lines) >= 2
    for line in loss.lines[:2]:
        values = np.asarray(line.get_ydata())
        assert loss.get_ylim()[0] <= values.min()
        assert values.max() < loss.get_ylim()[1]
    legend = loss.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["run 1", "run 2, total, as displayed"]
    assert len(rate.lines) == 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        (COLLAPSED, "linear"),
        (np.r_[learning(150), np.full(50, 3e30)], "log"),
        (np.r_[learning(150), np.full(50, 3e38)], "log"),
        (np.geomspace(7, 0.002, 200), "log"),
        (np.r_[learning(150) - 1, np.full(150, -2e20)], "symlog"),
        (np.r_[learning(150), np.full(50, np.inf)], "linear"),
        (np.full(50, np.nan), "linear"),
        (np.zeros(50), "linear"),
    ],
)
def test_the_scale_follows_the_values(losses: np.ndarray, scale: str, tmp_path: Path) -> None:
    loss = drawn(tmp_path, run_of(losses))[0]
    assert loss.get_yscale() == scale
    assert np.isfinite(loss.get_ylim()).all()
    assert (loss.get_ylim()[0] == 0) == (scale == "linear" and bool(np.isfinite(losses).any()))


@pytest.mark.filterwarnings("error")
def test_test_passes_alone_are_drawn(tmp_path: Path) -> None:
    tests = "".join(
        f"{STAMP} solver.cpp:337] Iteration {i}, Testing net (#0)\n"
        f"{STAMP} solver.cpp:404]     Test net output #0: accuracy = {i / 1000}\n"
        f"{STAMP} solver.cpp:404]     Test net output #1: loss = {3 - i / 500} (* 1 = {3 - i / 500} loss)\n"
        for i in range(0, 1000, 100)
    )
    panels = drawn(tmp_path, tests)
    assert [axes.get_ylabel() for axes in panels] == ["test loss", "test accuracy"]
    assert [len(axes.lines) for axes in panels] == [1, 1]
    accuracy_alone = "".join(line for line in tests.splitlines(keepends=True) if "loss" not in line)
    assert [axes.get_ylabel() for axes in drawn(tmp_path, accuracy_alone)] == ["test accuracy"]
    assert main([str(tmp_path / "log")]) == 0


@pytest.mark.filterwarnings("error")
def test_only_non_finite_heads_are_marked_as_such(tmp_path: Path) -> None:
    losses = learning(100)
    heads = [(float(loss), float(loss) if row < 80 else math.nan) for row, loss in enumerate(losses)]
    text = "".join(shown(20 * row, sum(values), heads=values) for row, values in enumerate(heads))
    assert "total not finite" in texts(drawn(tmp_path, text)[0])
    marks = texts(drawn(tmp_path, run_of(np.r_[losses, [math.nan] * 20]))[0])
    assert "not finite" in marks
    assert "total" not in marks
