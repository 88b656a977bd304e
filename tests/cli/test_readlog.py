"""readlog.py as a command: narrow terminals, full disks, other encodings, pipes, logs that grow or are replaced."""

from __future__ import annotations

import gzip
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.invocation import next_command
from tests.helpers.made_up_logs import falling, log_text, steady, then
from tests.helpers.paths import CASE, READLOG
from tests.helpers.processes import command, started
from tests.helpers.short_logs import BEGUN, COLLAPSED, FATAL, learning, run_of
from tests.helpers.terminals import run_on_terminal

pytestmark = pytest.mark.usefixtures("one_blas_thread")


def readlog(*arguments: object, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    command_line = [sys.executable, str(READLOG), *map(str, arguments)]
    return subprocess.run(
        command_line, **({"capture_output": True, "text": True, "timeout": 60, "check": False} | kwargs)
    )


# -- where it is printed ----------------------------------------------------------------------------------------------


def in_terminal(columns: int, *arguments: object) -> list[str]:
    """Run readlog.py; return the lines that a terminal of that width shows, without colours."""
    done = run_on_terminal(sys.executable, READLOG, *arguments, columns=columns)
    assert done.code == 0
    return done.stdout.replace("\r", "").splitlines()


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_table_fits_any_terminal(columns: int, tmp_path: Path) -> None:
    other = tmp_path / "a_run_that_went_well.log"
    other.write_text(run_of(learning(200)))
    lines = in_terminal(columns, CASE, other)
    said = "\n".join(lines)
    assert max(len(line) for line in lines if "caffe-harness run" not in line) <= columns
    assert said.count("caffe-harness run --solver SOLVER.prototxt --watch 118900:119100 --until 119100\n") == 1
    assert said.count("uniform-softmax") == said.count("loss1/loss1  ") == 1
    assert "…\n" not in said
    assert ("final loss" in said) == (columns >= 80)
    assert ("displays " in lines[0]) == (columns == 200)
    assert ("iterations" in lines[0]) == (columns > 40)


def test_one_run_needs_fewer_columns() -> None:
    assert in_terminal(40, CASE)[:2] == [
        "iterations    verdict             jump",
        "40 … 161,040  uniform-softmax  119,040",
    ]


@pytest.mark.parametrize("option", [None, "--json", "--csv"])
def test_a_full_disk_is_an_error(option: str | None) -> None:
    with Path("/dev/full").open("w") as full:
        done = readlog(CASE, *([option] if option else []), capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (
        1, "error: standard output cannot be written (No space left on device)\n"
    )  # fmt: skip


def test_closed_streams_are_errors() -> None:
    for line, code, words in (
        (f"{READLOG} {CASE} >&-", 1, "standard output is closed"),
        (f"{READLOG} - <&-", 2, "-: cannot be read"),
        (f"{READLOG} - --follow <&-", 2, "-: cannot be read"),
        (f"{READLOG} /proc/self/mem", 2, "cannot be read (Input/output error)"),
    ):
        done = command("bash", "-c", f"{sys.executable} {line}")
        assert (done.code, done.stderr.count("\n")) == (code, 1), done.stderr
        assert words in done.stderr


def test_other_encodings_work(tmp_path: Path) -> None:
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


# -- several logs -----------------------------------------------------------------------------------------------------


# -- a log that grows -------------------------------------------------------------------------------------------------


class Following:
    """A `readlog.py --follow` in progress."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.out = process.stdout

    def until(self, words: str) -> list[str]:
        """Read the lines printed up to the first that contains `words`."""
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
    with started(sys.executable, READLOG, log, "--follow", stdout=subprocess.PIPE) as process:
        yield Following(process)


@pytest.mark.parametrize("how", ["cut short", "replaced"])
def test_a_followed_log_that_is_replaced_is_read_again(how: str, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text(run_of(COLLAPSED))
    with following(log) as follower:
        follower.until("uniform-softmax")
        if how == "replaced":
            log.rename(tmp_path / "train.log.1")
            time.sleep(0.6)
        log.write_text(run_of(learning(100)))
        assert follower.until("healthy")[0] == "The log was truncated or replaced: reading it from its beginning.\n"
        with log.open("a") as file:
            file.write(FATAL)
        follower.until("healthy")
        rest = follower.interrupted()
    assert "uniform" not in rest
    assert "0 … 1,980" in rest
    assert "out of memory" in rest


def test_an_empty_log_is_followed_from_its_first_line(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.touch()
    with following(log) as follower:
        time.sleep(1)
        log.write_text(BEGUN)
        assert follower.until("run 1")[0] == "run 1, started: unknown, loss -\n"
        rest = follower.interrupted()
    assert "A run starts here and has not displayed anything yet." in rest


def test_a_compressed_log_cannot_be_followed(tmp_path: Path) -> None:
    log = tmp_path / "train.log.gz"
    log.write_bytes(gzip.compress(CASE.read_bytes()))
    assert readlog(log).returncode == 0
    done = readlog(log, "--follow")
    assert done.returncode == 2
    assert "compressed by gzip, and cannot be followed" in done.stderr
    assert f"zcat {log} | {next_command('readlog')} - --follow" in done.stderr
    with log.open("rb") as packed:
        assert readlog("-", "--follow", stdin=packed).returncode == 2


# -- what little a log may hold ---------------------------------------------------------------------------------------


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_the_findings_on_the_case() -> None:
    done = command(sys.executable, READLOG, CASE, "--images", 278000, "--batch", 32)
    assert done.code == 0, done.stderr
    for words in (
        "loss jumped from 2.703 at the display of iteration 119,040",
        "loss1/loss1, loss2/loss1 and loss3/loss3 are at ln 280 = 5.635",
        "each of about 280 classes, whatever the input (classes inferred from the plateau)",
        "0.3·5.635 + 0.3·5.635 + 1·5.635 = 9.016",
        "119,001 … 119,040, most likely near 119,006",
        "mean of the last 40 (assumed: the display interval",
        "about 35 of them were bad",
        "poly with base_lr 0.001, power 0.5 and max_iter 800,000",
        "194,032 to 195,311",
        "epoch 13.7",
        "13 earlier epochs read the same records without such a break, so a bad record alone does not explain it",
        "caffe-harness run --solver SOLVER.prototxt --watch 118900:119100 --until 119100",
    ):
        assert words in done.stdout


def test_standard_input_and_a_closed_pipe() -> None:
    done = readlog("-", input=CASE.read_text())
    assert done.returncode == 0
    assert "uniform-softmax" in done.stdout
    for arguments in (f"{CASE} --csv", " ".join([str(CASE)] * 40)):
        line = f"{sys.executable} {READLOG} {arguments} | head -n 1; exit ${{PIPESTATUS[0]}}"
        piped = command("bash", "-c", line)
        assert (piped.code, piped.stderr) == (0, "")


def test_a_growing_log_is_followed(tmp_path: Path) -> None:
    losses = then(falling(4001, 2.3, 0.4), 3000, steady(4001, math.log(10)))
    lines = log_text(losses, display=20).splitlines(keepends=True)
    log = tmp_path / "growing.log"
    log.write_text("".join(lines[:300]))
    with following(log) as follower:
        assert "healthy" in follower.out.readline()
        with log.open("a") as file:
            for line in lines[300:]:
                file.write(line[:9])
                file.flush()
                file.write(line[9:])
        assert "jump at 3,000" in follower.until("uniform-softmax")[-1]
        rest = follower.interrupted()
    assert "ln 10 = 2.303" in rest


def test_a_pipe_is_followed_to_its_end() -> None:
    done = readlog("-", "--follow", "--json", input=CASE.read_text())
    assert done.returncode == 0
    assert json.loads(done.stdout)["verdict"] == "uniform-softmax"
    assert "run 1, iteration 161,040: uniform-softmax, jump at 119,040" in done.stderr
