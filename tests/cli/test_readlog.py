"""readlog.py as it is used: narrow terminals, full disks, other encodings, logs that grow, rotate or hold little."""

from __future__ import annotations

import gzip
import json
import math
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes

from harness.caffe_log.reader import read_path
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.log_facts import Facts
from harness.diagnosis.logged.examine import examine
from harness.readlog import main
from harness.reports.figures.log import log_figure
from harness.reports.log_result import LogResult
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.usefixtures("one_blas_thread")

CASE = ROOT / "tests/logs/case.log"
READLOG = ROOT / "harness/readlog.py"
STAMP = "I0515 08:44:41.838122  1279"
BEGUN = f"""{STAMP} solver.cpp:45] Initializing solver from parameters:
base_lr: 0.01
display: 20
lr_policy: "fixed"
{STAMP} solver.cpp:102] Creating training net from net file: x.prototxt
{STAMP} solver.cpp:279] Solving X
"""
FATAL = "F0515 08:45:41.000000  1279 syncedmem.cpp:56] Check failed: error == cudaSuccess (2 vs. 0)  out of memory\n"


def shown(iteration: int, loss: float, *, mark: str = "", heads: Sequence[float] = ()) -> str:
    outputs = "".join(
        f"{STAMP} solver.cpp:244] {mark}    Train net output #{k}: head{k} = {value:g} (* 1 = {value:g} loss)\n"
        for k, value in enumerate(heads)
    )
    return (
        f"{STAMP} solver.cpp:228] {mark}Iteration {iteration}, loss = {loss:g}\n{outputs}"
        f"{STAMP} sgd_solver.cpp:106] {mark}Iteration {iteration}, lr = 0.01\n"
    )


def run_of(losses: Sequence[float] | np.ndarray, first: int = 0) -> str:
    return BEGUN + "".join(shown(first + 20 * row, float(loss)) for row, loss in enumerate(losses))


def falling(count: int, end: float = 0.4) -> np.ndarray:
    noise = np.random.default_rng(3).normal(1, 0.05, count)
    return (end + (2.3 - end) * np.exp(-np.arange(count) / (count / 6))) * noise


COLLAPSED = np.r_[falling(150), np.full(51, math.log(10))]


def readlog(*arguments: object, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(READLOG), *map(str, arguments)]
    return subprocess.run(command, **({"capture_output": True, "text": True, "timeout": 60, "check": False} | kwargs))


def as_json(log: Path, *arguments: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main([str(log), "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


# -- where it is printed ---------------------------------------------------------------------------------------------


def in_terminal(columns: int, *arguments: object) -> list[str]:
    """The lines that a terminal of that width shows, without colours."""
    outside, inside = pty.openpty()
    with subprocess.Popen(
        [sys.executable, str(READLOG), *map(str, arguments)],
        stdin=inside,
        stdout=inside,
        env=os.environ | {"COLUMNS": str(columns), "TERM": "xterm"},
    ) as process:
        os.close(inside)
        said = b""
        while True:
            try:
                said += os.read(outside, 1 << 16)
            except OSError:  # the other side is closed
                break
        assert process.wait() == 0
    os.close(outside)
    return re.sub(r"\x1b\[[\d;]*m", "", said.decode()).replace("\r", "").splitlines()


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_any_terminal_is_wide_enough(columns: int, tmp_path: Path) -> None:
    other = tmp_path / "a_run_that_went_well.log"
    other.write_text(run_of(falling(200)))
    lines = in_terminal(columns, CASE, other)
    said = "\n".join(lines)
    assert max(map(len, lines)) <= columns
    assert said.count("uniform-softmax") == said.count("loss1/loss1  ") == 1
    assert "…\n" not in said
    assert ("final loss" in said) == (columns >= 80)
    assert ("displays " in lines[0]) == (columns == 200)
    assert ("iterations" in lines[0]) == (columns > 40)


def test_one_run_needs_less_room() -> None:
    assert in_terminal(40, CASE)[:2] == [
        "iterations    verdict             jump",
        "40 … 161,040  uniform-softmax  119,040",
    ]


@pytest.mark.parametrize("option", [None, "--json", "--csv"])
def test_a_disk_that_is_full(option: str | None) -> None:
    with Path("/dev/full").open("w") as full:
        done = readlog(CASE, *([option] if option else []), capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (
        1, "error: standard output cannot be written (No space left on device)\n"
    )  # fmt: skip


def test_closed_streams() -> None:
    for line, code, words in (
        (f"{READLOG} {CASE} >&-", 1, "standard output is closed"),
        (f"{READLOG} - <&-", 2, "-: cannot be read"),
        (f"{READLOG} - --follow <&-", 2, "-: cannot be read"),
        (f"{READLOG} /proc/self/mem", 2, "cannot be read (Input/output error)"),
    ):
        done = subprocess.run(["bash", "-c", f"{sys.executable} {line}"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert words in done.stderr


def test_other_encodings(tmp_path: Path) -> None:
    log = tmp_path / "läuft.log"
    log.write_bytes(CASE.read_bytes())
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.log")
    Path(odd).write_bytes(CASE.read_bytes())
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    table = str(tmp_path / "x.csv")
    for name, arguments in ((log, ()), (odd, ("--csv", table)), (odd, ("--csv",)), (log, ("--json",))):
        done = readlog(name, *arguments, env=ascii_only)
        assert (done.returncode, done.stderr) == (0, ""), arguments
        assert done.stdout.isascii()
    found = json.loads(done.stdout)
    assert found["log"] == str(log)
    assert any("1,001 … 119,040" in said or "119,001 … 119,040" in said for said in found["findings"])


# -- several logs ----------------------------------------------------------------------------------------------------


def test_one_bad_log_does_not_spoil_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.log").write_text("hello\n")
    logs = [str(tmp_path / "other.log"), str(CASE), str(tmp_path / "nowhere.log")]
    assert main([*logs, "--json", "--plot", str(tmp_path / "x.png")]) == 2
    done = capsys.readouterr()
    assert [Path(run["log"]).name for run in json.loads(done.out)["runs"]] == ["case.log"]
    assert [line.startswith("error: /") for line in done.err.splitlines()] == [True, True]
    assert "no training run in it" in done.err
    assert "nowhere.log: cannot be read" in done.err
    assert (tmp_path / "x.png").exists()


# -- a log that grows ------------------------------------------------------------------------------------------------


class Following:
    """`readlog.py --follow` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.out = process.stdout

    def until(self, words: str) -> list[str]:
        """The lines printed up to the first with `words` in it."""
        lines = [self.out.readline()]
        while words not in lines[-1]:
            assert lines[-1], lines
            lines.append(self.out.readline())
        return lines

    def interrupted(self) -> str:
        self.process.send_signal(signal.SIGINT)
        rest = self.out.read()
        assert self.process.wait(timeout=20) == 130
        return rest


@contextmanager
def following(log: Path) -> Iterator[Following]:
    command = [sys.executable, str(READLOG), str(log), "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Following(process)
        finally:
            process.kill()


@pytest.mark.parametrize("how", ["cut short", "replaced"])
def test_following_a_log_that_begins_anew(how: str, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text(run_of(COLLAPSED))
    with following(log) as follower:
        follower.until("uniform-softmax")
        if how == "replaced":
            log.rename(tmp_path / "train.log.1")
            time.sleep(0.6)
        log.write_text(run_of(falling(100)))
        assert follower.until("healthy")[0] == "The log was cut short or replaced: read anew from its beginning.\n"
        with log.open("a") as file:
            file.write(FATAL)
        follower.until("healthy")
        rest = follower.interrupted()
    assert "uniform" not in rest
    assert "0 … 1,980" in rest
    assert "out of memory" in rest


def test_following_from_the_first_line_on(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.touch()
    with following(log) as follower:
        time.sleep(1)
        log.write_text(BEGUN)
        assert follower.until("run 1")[0] == "run 1, begun: unknown, loss -\n"
        rest = follower.interrupted()
    assert "A run begins here, and displayed nothing yet." in rest


def test_a_packed_log_cannot_be_followed(tmp_path: Path) -> None:
    log = tmp_path / "train.log.gz"
    log.write_bytes(gzip.compress(CASE.read_bytes()))
    assert readlog(log).returncode == 0
    done = readlog(log, "--follow")
    assert done.returncode == 2
    assert "packed by gzip, and cannot be followed" in done.stderr
    assert f"zcat '{log}' | python harness/readlog.py - --follow" in done.stderr
    with log.open("rb") as packed:
        assert readlog("-", "--follow", stdin=packed).returncode == 2


# -- what little a log may hold --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("", "A run begins here, and displayed nothing yet."),
        (FATAL, "A run begins here, and died before it displayed anything."),
        (f"{STAMP} solver.cpp:326] Optimization Done.\n", "A run begins here, and ended without displaying anything"),
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


def test_a_run_that_died_at_once_and_its_second_try(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    log.write_text(BEGUN + FATAL + run_of(falling(100)))
    first, second = as_json(log, capsys=capsys)["runs"]
    assert (first["verdict"], first["iterations"], second["verdict"]) == ("unknown", None, "healthy")
    assert "out of memory" in " ".join(first["findings"])
    assert second["fatal"] is None


def test_what_is_known_of_where_and_when(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert "The newest snapshot from before it is of iteration 2,900: x_iter_2900.caffemodel" in found["findings"]
    assert found["findings"][-1].startswith("To see what every layer did there")


def test_what_was_left_out_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orphans = "".join(shown(0, 2.3, heads=(1.0, 1.3)).splitlines(keepends=True)[1:3])
    ranks = "".join(
        shown(20 * row, float(loss), mark=f"[0.{rank}] ", heads=(float(loss),))
        for row, loss in enumerate(falling(100))
        for rank in range(3)
    )
    (tmp_path / "log").write_text(orphans + ranks)
    found = as_json(tmp_path / "log", capsys=capsys)
    assert (found["displays"], found["other_solvers"]) == (100, 2)
    said = " ".join(found["findings"])
    assert "2 outputs belong to a display that the log does not show." in said
    assert "2 more solvers (GPUs, ranks) of this run printed as well" in said
    assert "damaged" not in said


# -- pictures --------------------------------------------------------------------------------------------------------


def drawn(tmp_path: Path, text: str) -> list[Axes]:
    """The panels of the picture of a log."""
    (tmp_path / "log").write_text(text)
    log = read_path(str(tmp_path / "log"))
    limits = read_limits()
    runs = [
        LogResult(log, n, n == len(log.runs), run, examine(run, Facts(), limits), None)
        for n, run in enumerate(log.runs, 1)
    ]
    assert main([str(tmp_path / "log"), "--plot", str(tmp_path / "log.png")]) == 0
    assert cv2.imread(str(tmp_path / "log.png")) is not None
    return log_figure(runs).axes


def texts(axes: Axes) -> str:
    return " | ".join(text.get_text() for text in axes.texts)


@pytest.mark.filterwarnings("error")
def test_earlier_runs_are_in_the_picture(tmp_path: Path) -> None:
    loss, rate = drawn(tmp_path, run_of(COLLAPSED) + run_of(falling(50, 0.2), 3000))
    assert len(loss.lines) >= 2
    for line in loss.lines[:2]:
        values = np.asarray(line.get_ydata())
        assert loss.get_ylim()[0] <= values.min()
        assert values.max() < loss.get_ylim()[1]
    assert [t.get_text() for t in loss.get_legend().get_texts()] == ["run 1", "run 2, total, as displayed"]
    assert len(rate.lines) == 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        (COLLAPSED, "linear"),
        (np.r_[falling(150), np.full(50, 3e30)], "log"),
        (np.r_[falling(150), np.full(50, 3e38)], "log"),
        (np.geomspace(7, 0.002, 200), "log"),
        (np.r_[falling(150) - 1, np.full(150, -2e20)], "symlog"),
        (np.r_[falling(150), np.full(50, np.inf)], "linear"),
        (np.full(50, np.nan), "linear"),
        (np.zeros(50), "linear"),
    ],
)
def test_huge_values_have_a_scale_of_their_own(losses: np.ndarray, scale: str, tmp_path: Path) -> None:
    loss = drawn(tmp_path, run_of(losses))[0]
    assert loss.get_yscale() == scale
    assert np.isfinite(loss.get_ylim()).all()
    assert (loss.get_ylim()[0] == 0) == (scale == "linear" and bool(np.isfinite(losses).any()))


@pytest.mark.filterwarnings("error")
def test_tests_alone_are_drawn(tmp_path: Path) -> None:
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
def test_a_head_that_is_finite_is_not_said_not_to_be(tmp_path: Path) -> None:
    losses = falling(100)
    heads = [(float(loss), float(loss) if row < 80 else math.nan) for row, loss in enumerate(losses)]
    text = "".join(shown(20 * row, sum(values), heads=values) for row, values in enumerate(heads))
    assert "total not finite" in texts(drawn(tmp_path, text)[0])
    marks = texts(drawn(tmp_path, run_of(np.r_[losses, [math.nan] * 20]))[0])
    assert "not finite" in marks
    assert "total" not in marks
