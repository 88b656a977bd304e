"""Parsing logs: of Caffe versions from 2013 on, of forks, and logs that were pasted, cut, joined or damaged."""

from __future__ import annotations

import codecs
import gzip
import io
import math
import random
import re
import textwrap
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.caffe_log import decode, embedded_prototxt, run_tracker
from harness.caffe_log.display_pattern import pattern_source
from harness.caffe_log.line_parser import parse_line
from harness.caffe_log.model import Log, LoggedOutput, LogRun
from harness.caffe_log.reader import LogReader, read_path
from harness.caffe_log.series import GrowingSeries
from harness.errors import BadInput
from tests.helpers.parsed_logs import in_pieces, pairs, read
from tests.helpers.paths import LOGS
from tools.bench.log import write_log
from tools.campaigns.logs import CAMPAIGN, check_reading, everything, mutated

CASE = (LOGS / "case.log").read_bytes()
QUESTION = (LOGS / "question.zh.txt").read_bytes()


def only(content: str | bytes) -> LogRun:
    log = read(content)
    assert len(log.runs) == 1, log.runs
    return log.runs[0]


def heads(outputs: tuple[LoggedOutput, ...]) -> dict[tuple[int, str, float | None], list[tuple[int, float]]]:
    return {(o.number, o.name, o.weight): pairs(o.series) for o in outputs}


def shown(iteration: int, loss: str = "1.5", *, header: str = "I0515 08:44:41.838122  1279 ", lr: str = "0.01") -> str:
    """A display of Caffe 1.0."""
    return (
        f"{header}solver.cpp:239] Iteration {iteration} (2.9 iter/s, 34.5s/100 iters), loss = {loss}\n"
        f"{header}solver.cpp:258]     Train net output #0: a/loss = {loss} (* 0.3 = 0.45 loss)\n"
        f"{header}solver.cpp:258]     Train net output #1: acc = 0.25\n"
        f"{header}sgd_solver.cpp:112] Iteration {iteration}, lr = {lr}\n"
    )


# -- the log of the case ----------------------------------------------------------------------------------------------


def check_case(run: LogRun) -> None:
    assert pairs(run.loss) == [(40, 9.72169), (119000, 2.70265), (119040, 8.3068), (161040, 9.01994)]
    assert pairs(run.lr) == [(40, 0.000999975), (119000, 0.000922632), (119040, 0.000922605), (161040, 0.0008937)]
    assert heads(run.outputs) == {
        (0, "loss1/loss1", 0.3): [(40, 5.7261), (119000, 2.41406), (119040, 5.77026), (161040, 5.63485)],
        (1, "loss2/loss1", 0.3): [(40, 5.65961), (119000, 2.38374), (119040, 5.76971), (161040, 5.63484)],
        (2, "loss3/loss3", 1.0): [(40, 5.46685), (119000, 1.92663), (119040, 5.70022), (161040, 5.62972)],
    }
    (test,) = run.tests
    assert [(o.number, o.name, o.weight, pairs(o.series)) for o in test] == [
        (0, "loss1/loss1", 0.3, [(100000, 2.08631)]),
        (1, "loss1/top-1", None, [(100000, 0.458375)]),
        (2, "loss1/top-5", None, [(100000, 0.768781)]),
        (3, "loss2/loss1", 0.3, [(100000, 1.88489)]),
        (4, "loss2/top-1", None, [(100000, 0.494906)]),
        (5, "loss2/top-5", None, [(100000, 0.805906)]),
        (6, "loss3/loss3", 1.0, [(100000, 1.77118)]),
        (7, "loss3/top-1", None, [(100000, 0.517719)]),
        (8, "loss3/top-5", None, [(100000, 0.827125)]),
    ]


def test_the_case_log_is_read_completely() -> None:
    log = read(CASE)
    check_case(log.runs[0])
    assert (len(log.runs), log.lines, log.used, log.damaged, log.noise, log.examples) == (1, 30, 30, 0, 0, ())
    run = log.runs[0]
    assert (run.started, run.last) == ("0515 08:44:41.838122", "0515 16:51:10.485666")
    assert (run.first_line, run.last_line, run.finished, run.fatal) == (1, 30, False, None)
    assert (run.solver_text, run.net_text, run.snapshots, run.resumed_from) == (None, None, (), None)


def test_a_log_quoted_in_a_question_is_read() -> None:
    log = read(QUESTION)
    check_case(log.runs[0])
    assert (len(log.runs), log.lines, log.used, log.damaged, log.noise) == (1, 51, 42, 0, 9)
    assert log.runs[0].solver_text == (
        "test_iter: 1000\ntest_interval: 4000\ntest_initialization: false\ndisplay: 40\naverage_loss: 40\n"
        'base_lr: 0.001\nlr_policy: "poly"\npower: 0.5\nmax_iter: 800000\nmomentum: 0.9\nweight_decay: 0.0002\n'
        "snapshot: 20000\n"
    )


def test_a_log_appended_to_a_question_is_a_second_run() -> None:
    """The first line of the log follows a question mark, and its iteration is smaller than the last one."""
    log = read(QUESTION + CASE)
    assert len(log.runs) == 2
    for run in log.runs:
        check_case(run)
    assert log.damaged == 0
    assert [run.first_line for run in log.runs] == [16, 51]


# -- versions and forks -----------------------------------------------------------------------------------------------


def test_logs_of_caffe_of_2014_have_lr_before_loss_and_test_scores() -> None:
    run = only(
        "I1203 07:00:00.000001  77 solver.cpp:47] Solving LeNet\n"
        "I1203 07:00:01.000001  77 solver.cpp:208] Iteration 100, lr = 0.00992565\n"
        "I1203 07:00:01.000002  77 solver.cpp:65] Iteration 100, loss = 0.26044\n"
        "I1203 07:00:02.000001  77 solver.cpp:87] Iteration 100, Testing net\n"
        "I1203 07:00:03.000001  77 solver.cpp:114] Test loss: 0.0606671\n"
        "I1203 07:00:03.000002  77 solver.cpp:114] Test score #0: 0.9785\n"
        "I1203 07:00:03.000003  77 solver.cpp:114] Test score #1: 0.0606671\n"
        "I1203 07:00:04.000001  77 solver.cpp:130] Snapshotting to lenet_iter_100\n"
        "I1203 07:00:04.000002  77 solver.cpp:137] Snapshotting solver state to lenet_iter_100.solverstate\n"
        "I1203 07:00:05.000001  77 solver.cpp:208] Iteration 200, lr = 0.0098\n"
        "I1203 07:00:05.000002  77 solver.cpp:65] Iteration 200, loss = 0.2\n"
        "I1203 07:00:06.000001  77 solver.cpp:78] Optimization Done.\n"
    )
    assert pairs(run.lr) == [(100, 0.00992565), (200, 0.0098)]
    assert pairs(run.loss) == [(100, 0.26044), (200, 0.2)]
    assert heads(run.tests[0]) == {
        (-1, "Test loss", None): [(100, 0.0606671)],
        (0, "Test score", None): [(100, 0.9785)],
        (1, "Test score", None): [(100, 0.0606671)],
    }
    assert run.snapshots == ((100, "lenet_iter_100"),)
    assert run.outputs == ()
    assert run.finished
    assert (run.started, run.last) == ("1203 07:00:00.000001", "1203 07:00:06.000001")


def test_lines_without_times_and_test_passes_without_iterations_are_read() -> None:
    run = only(
        "    I1203 solver.cpp:204] Iteration 100, lr = 0.00992565\n"
        "    I1203 solver.cpp:66] Iteration 100, loss = 0.26\n"
        "    ...\n    I1203 solver.cpp:84] Testing net\n    I1203 solver.cpp:111] Test score #0: 0.9785\n"
    )
    assert pairs(run.loss) == [(100, 0.26)]
    assert heads(run.tests[0]) == {(0, "Test score", None): [(100, 0.9785)]}


@pytest.mark.parametrize(
    ("line", "series"),
    [
        ("Iteration 2, loss = 5.5", [(2, 5.5)]),
        ("Iteration 100 (2.89964 iter/s, 34.4871s/100 iters), loss = 0.21", [(100, 0.21)]),
        ("Iteration 100 (-0.38 iter/s, inf s/100 iters), loss = 0.21", [(100, 0.21)]),
        ("Iteration 2 (3.89 s), loss = 5.08295", [(2, 5.08295)]),
        ("Iteration 100 (12.3 iter/s, 8.1s/100 iter), 1.2/90ep, loss = 0.5", [(100, 0.5)]),
        ("Iteration 50 (2.25436 iter/s, 21.292s/48 iter), loss = 3.2223", [(50, 3.2223)]),
        ("Iteration 7 of 100, loss = 1e-05", [(7, 1e-5)]),
        ("Iteration 0, loss = 0", [(0, 0.0)]),
        ("Iteration 2147483647, loss = 1", [(2147483647, 1.0)]),
    ],
)
@pytest.mark.parametrize(
    "before",
    [
        "I0306 10:27:54.235158 13326 solver.cpp:347] ",
        "I20240515 08:44:41.838122 13326 solver.cpp:347] ",
        "I0306 10:27:54.235158 1936085760 solver.cpp:229] ",
        "I0306 10:27:54.235158 0x7fff7e02c300 solver.cpp:229] ",
        "I0213 01:45:51.000000  6156 ..\\src\\caffe\\solver.cpp:77] ",
        "I0213 01:45:51.000000  6156 C:\\Program Files\\caffe\\src\\caffe\\solver.cpp:77] ",
        "LogCaffe: I0213 01:45:51.000000  6156 solver.cpp:77] ",
        "2016-05-15T08:44:41.838122345Z I0306 10:27:54.235158    13 solver.cpp:347] ",
        "caffe_1  | I0306 10:27:54.235158    13 solver.cpp:347] ",
        "[2016-05-15 08:44:41] I0306 10:27:54.235158    13 solver.cpp:347] ",
        "1508138445  INFO: src/caffe/solver.cpp : line 218 : ",
        "I0306 10:27:54.235158 13326 solver.cpp:347] [0.0] ",
        "> ",
        '> "',
        "",
        "   ",
        "\x1b[32mI0306 10:27:54.235158 13326 solver.cpp:347]\x1b[0m ",
        "\ufeffI0306 10:27:54.235158 13326 solver.cpp:347] ",
    ],
)
def test_every_form_of_the_loss_line_is_read(before: str, line: str, series: list[tuple[int, float]]) -> None:
    log = read(f"{before}{line}\n")
    assert pairs(log.runs[0].loss) == series
    assert (log.lines, log.used) == (1, 1)


@pytest.mark.parametrize(
    "line",
    [
        "Iteration 50, lr = 0.0001, m = 0.9, wd = 0.0004, gs = 1",
        "Iteration 50 (0.5/s), lr = 0.0001",
        "Iteration 50, lr = 0.0001",
    ],
)
def test_every_form_of_the_lr_line_is_read(line: str) -> None:
    run = only(f"I0306 10:27:54.235158 13326 sgd_solver.cpp:170] {line}\n")
    assert pairs(run.lr) == [(50, 0.0001)]
    assert pairs(run.loss) == []


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ("nan", math.nan), ("-nan", math.nan), ("NaN", math.nan), ("-nan(ind)", math.nan), ("nan(snan)", math.nan),
        ("inf", math.inf), ("-inf", -math.inf), ("1.#QNAN", math.nan), ("-1.#IND", math.nan), ("1.#INF", math.inf),
        ("-1.#INF", -math.inf), ("1.#INF00", math.inf), ("-1.#IND00", math.nan), ("1.4013e-45", 1.4013e-45),
        ("1e-005", 1e-5), ("3.40282e+38", 3.40282e38), ("-0", -0.0), ("87.3365", 87.3365), ("9.", 9.0), (".5", 0.5),
    ],
)  # fmt: skip
def test_values_in_every_notation_are_read(printed: str, value: float) -> None:
    header = "I0306 10:27:54.235158 13326 solver.cpp:347] "
    run = only(
        f"{header}Iteration 40, loss = {printed}\n"
        f"{header}    Train net output #0: loss = {printed} (* 1 = {printed} loss)\n"
        f"{header}    Train net output #1: acc = {printed}\n{header}Iteration 40, lr = {printed}\n"
    )
    for series in (run.loss, run.lr, run.outputs[0].series, run.outputs[1].series):
        assert series.iterations.tolist() == [40]
        assert series.values.tolist() == pytest.approx([value], nan_ok=True, rel=0, abs=0)
        assert math.copysign(1, series.values[0]) == math.copysign(1, value) or math.isnan(value)


@pytest.mark.parametrize(
    "name",
    ["loss", "loss1/top-1", "my loss", "a: b", "a = b", "a = 1 = 2", "Test loss: x", "#0: y", "Iteration", "läuft",
     "a (b)", "=", "Train net", "Snapshotting to x", "(* 1", "lr = x"],
)  # fmt: skip
@pytest.mark.parametrize("weight", [None, 0.3, 1.0])
def test_output_names_of_any_characters_are_read(name: str, weight: float | None) -> None:
    loss = "" if weight is None else f" (* {weight:g} = 0.45 loss)"
    log = read(
        "I0306 10:27:54.235158 13326 solver.cpp:347] Iteration 40, loss = 2\n"
        f"I0306 10:27:54.235158 13326 solver.cpp:347]     Train net output #3: {name} = 1.5{loss}\n"
    )
    assert heads(log.runs[0].outputs) == {(3, name, weight): [(40, 1.5)]}
    assert log.used == 2


def test_vectors_and_repeated_names_are_separate_outputs() -> None:
    header = "I0306 10:27:54.235158 13326 solver.cpp:347] "
    run = only(
        f"{header}Iteration 40, loss = 2\n"
        + "".join(f"{header}    Train net output #{k}: prob = {k / 8}\n" for k in range(300))
        + f"{header}Iteration 80, loss = 2\n"
        + "".join(f"{header}    Train net output #{k}: prob = {k / 4}\n" for k in range(300))
    )
    assert [(o.number, o.name, pairs(o.series)) for o in run.outputs] == [
        (k, "prob", [(40, k / 8), (80, k / 4)]) for k in range(300)
    ]


def test_each_test_net_has_its_own_series() -> None:
    header = "I0306 10:27:54.235158 13326 solver.cpp:347] "
    run = only(
        f"{header}Iteration 0, Testing net (#0)\n{header}    Test net output #0: acc = 0.1\n"
        f"{header}Iteration 0, Testing net (#1)\n{header}    Test net output #0: acc = 0.2\n" + shown(0) + shown(100)
        + f"{header}Iteration 100, Testing net (#0)\n{header}    Test net output #0: acc = 0.3\n"
        f"{header}Iteration 100, Testing net (#1)\n{header}    Test net output #0: acc = 0.4\n" + shown(200)
    )  # fmt: skip
    assert [heads(test) for test in run.tests] == [
        {(0, "acc", None): [(0, 0.1), (100, 0.3)]},
        {(0, "acc", None): [(0, 0.2), (100, 0.4)]},
    ]
    assert run.loss.iterations.tolist() == [0, 100, 200]


# -- headers, resumes, several runs -----------------------------------------------------------------------------------

# Caffe prints a blank after these colons
STARTING = """Log file created at: 2016/05/15 08:44:35
I0515 08:44:35.000001  1279 caffe.cpp:218] Using GPUs 0
I0515 08:44:35.000002  1279 solver.cpp:45] Initializing solver from parameters:
base_lr: 0.01
display: 100
train_state {
  level: 0
}
I0515 08:44:35.000003  1279 solver.cpp:102] Creating training net from net file: net.prototxt
I0515 08:44:35.000004  1279 net.cpp:53] Initializing net from parameters:
name: "train"
layer {
  name: "data"
}
I0515 08:44:35.000005  1279 layer_factory.hpp:77] Creating layer data
I0515 08:44:35.000006  1279 net.cpp:53] Initializing net from parameters:
name: "test"
I0515 08:44:35.000007  1279 solver.cpp:57] Solver scaffolding done.
""".replace("parameters:", "parameters: ")
BEGUN = """I0515 08:44:36.000001  1279 caffe.cpp:251] Starting Optimization
I0515 08:44:36.000002  1279 solver.cpp:288] Solving train
I0515 08:44:36.000003  1279 solver.cpp:289] Learning Rate Policy: step
"""


def test_solver_and_net_in_the_header_are_read() -> None:
    run = only(STARTING + BEGUN + shown(0))
    assert run.solver_text == "base_lr: 0.01\ndisplay: 100\ntrain_state {\n  level: 0\n}\n"
    assert run.net_text == 'name: "train"\nlayer {\n  name: "data"\n}\n'
    assert (run.first_line, run.started) == (3, "0515 08:44:35.000002")


@pytest.mark.parametrize("prefix", ["caffe_1  | ", "    ", "> ", "2016-05-15T08:44:41.8Z "])
def test_prototxt_after_a_prefix_is_read(prefix: str) -> None:
    lines = (STARTING + BEGUN + shown(0) + shown(100)).splitlines()
    run = only("".join(f"{prefix}{line}\n" for line in lines))
    assert run.solver_text == "base_lr: 0.01\ndisplay: 100\ntrain_state {\n  level: 0\n}\n"
    assert run.net_text == 'name: "train"\nlayer {\n  name: "data"\n}\n'
    assert run.loss.iterations.tolist() == [0, 100]


def test_a_resumed_run_is_a_run_of_its_own() -> None:
    resuming = "I0515 09:44:35.1  1280 caffe.cpp:242] Resuming from x_iter_150.solverstate\n"
    resumed = STARTING.replace(" 1279 ", " 1280 ") + resuming + BEGUN.replace(" 1279 ", " 1280 ")
    snapshot = "I0515 08:44:40.000001  1279 solver.cpp:464] Snapshotting to binary proto file x_iter_150.caffemodel\n"
    hdf5 = "I0515 08:44:40.000001  1279 solver.cpp:477] Snapshotting to HDF5 file y.h5\n"
    weights = "I0515 08:44:35.9  1279 caffe.cpp:155] Finetuning from base.caffemodel\n"
    log = read(
        STARTING + weights + weights + BEGUN + shown(0) + shown(100) + snapshot + shown(200) + hdf5
        + resumed + shown(200, "1.25", header="I0515 09:45:41.838122  1280 ")
    )  # fmt: skip
    first, second = log.runs
    assert first.loss.iterations.tolist() == [0, 100, 200]
    assert first.snapshots == ((150, "x_iter_150.caffemodel"), (200, "y.h5"))
    assert (first.weights_from, first.resumed_from) == (("base.caffemodel",), None)
    assert pairs(second.loss) == [(200, 1.25)]
    assert (second.resumed_from, second.weights_from) == ("x_iter_150.solverstate", ())
    assert second.first_line == first.last_line + 3
    assert second.solver_text == first.solver_text


def test_restoring_after_the_start_is_part_of_the_run() -> None:
    old = "I0515 08:44:36.000002  1279 solver.cpp:165] Solving CIFAR10_full\n"
    restore = (
        "I0515 08:44:36.000003  1279 solver.cpp:172] Restoring previous solver status from c_iter_60.solverstate\n"
    )
    log = read(shown(0) + shown(100) + old + restore + shown(60) + shown(80))
    assert [run.loss.iterations.tolist() for run in log.runs] == [[0, 100], [60, 80]]
    assert [run.resumed_from for run in log.runs] == [None, "c_iter_60.solverstate"]


def test_without_headers_a_smaller_iteration_starts_a_run() -> None:
    log = read(shown(0) + shown(100) + shown(200) + shown(0) + shown(100))
    assert [run.loss.iterations.tolist() for run in log.runs] == [[0, 100, 200], [0, 100]]
    assert (log.damaged, log.noise) == (0, 0)


def test_the_fatal_message_of_each_run_is_kept() -> None:
    fatal = (
        "F0515 08:44:36.000009  1279 syncedmem.cpp:56] Check failed: error == cudaSuccess (2 vs. 0)  out of memory\n"
    )
    log = read(STARTING + BEGUN + fatal + "*** Check failure stack trace: ***\n" + STARTING + BEGUN + shown(0) + fatal)
    assert [len(run.loss.values) for run in log.runs] == [0, 1]
    assert {run.fatal for run in log.runs} == {"Check failed: error == cudaSuccess (2 vs. 0)  out of memory"}


def test_a_run_without_displays_is_a_run() -> None:
    run = only(STARTING + BEGUN)
    assert (run.finished, run.fatal, run.started, run.last) == (
        False,
        None,
        "0515 08:44:35.000002",
        "0515 08:44:36.000002",
    )
    assert run.net_text is not None
    assert only(STARTING + BEGUN + "I0515 08:44:36.1  1279 solver.cpp:326] Optimization Done.\n").finished
    # each GPU's solver prints that it starts; together they are one run
    assert only(STARTING + STARTING + BEGUN).first_line > 3


def test_a_finished_run_is_told_from_a_stopped_one() -> None:
    done = (
        "I0515 08:44:36.1  1279 solver.cpp:326] Optimization Done.\n"
        "I0515 08:44:36.2  1279 caffe.cpp:254] Optimization Done.\n"
    )
    stopped = "I0515 08:44:36.1  1279 solver.cpp:307] Optimization stopped early.\n"
    assert only(BEGUN + shown(0) + done).finished
    assert not only(BEGUN + shown(0) + stopped).finished
    log = read(BEGUN + shown(0) + done + BEGUN + shown(0))
    assert [run.finished for run in log.runs] == [True, False]


def test_of_several_ranks_that_print_the_first_is_read() -> None:
    """Several solvers of one run are distinguished by a mark or by their threads."""
    marked = "".join(
        f"I0306 10:27:54.235158 {13326 + rank} solver.cpp:347] [0.{rank}] Iteration {n}, loss = {rank + 1}.5\n"
        f"I0306 10:27:54.235158 {13326 + rank} solver.cpp:371] [0.{rank}]     "
        f"Train net output #0: x = {rank}.25 (* 1 = 1 loss)\n"
        for n in range(0, 100, 10)
        for rank in range(4)
    )
    threads = re.sub(r"\[0\.\d\] ", "", marked)
    late = "".join(
        f"I0306 10:27:54.235158 {thread} solver.cpp:347] Iteration {n}, loss = {loss}\n"
        for n in range(0, 100, 10)
        for thread, loss in (((1, 1.5), (2, 2.5)) if n == 0 else ((2, 2.5), (1, 1.5)))
    )
    for content in (marked, threads, late):
        run = only(content)
        assert pairs(run.loss) == [(n, 1.5) for n in range(0, 100, 10)]
        assert run.other_solvers == (1 if content is late else 3)
    assert heads(only(threads).outputs) == {(0, "x", 1.0): [(n, 0.25) for n in range(0, 100, 10)]}


def test_rank_0_is_read_whichever_rank_prints_first() -> None:
    """As in NVIDIA's fork: every rank announces its start, and the last loss is that of max_iter, but not its rate."""

    def line(rank: int, text: str) -> str:
        return f"I0519 23:35:51.816445 {215053 + rank} solver.cpp:337]     [0.{rank}] {text}\n"

    started = "".join(line(rank, "Starting Optimization") for rank in (2, 0, 1))
    tested = "I0519 23:35:51.816491 215053 solver.cpp:494] Iteration 0, Testing net (#0)\n"
    tested += "I0519 23:35:51.535589 215053 solver.cpp:581]     (0.0)    Test net output #0: accuracy = 0.09\n"
    displayed = "".join(
        line(rank, f"Iteration {shown} (0.02 s), loss = {rank}.{n + 1}")
        + line(rank, f"    Train net output #0: x = {rank}.{n + 1} (* 1 = {rank}.{n + 1} loss)")
        + line(rank, f"Iteration {n}, lr = 0.001, m = 0.9, gs = 1")
        for n, shown in ((0, 0), (1, 1), (2, 2), (3, 4))
        for rank in (2, 0, 1)
    )
    done = "I0519 23:35:51.894297 215053 solver.cpp:459] Iteration 4, loss = 0.5\n"
    run = only(started + tested + displayed + done)
    assert pairs(run.loss) == [(0, 0.1), (1, 0.2), (2, 0.3), (3, 0.4), (4, 0.5)]
    assert pairs(run.lr) == [(n, 0.001) for n in range(4)]
    assert heads(run.outputs) == {(0, "x", 1.0): [(0, 0.1), (1, 0.2), (2, 0.3), (3, 0.4)]}
    assert (run.rank, run.other_solvers) == ("0.0", 2)
    silent = only(started + tested + "".join(t for t in displayed.splitlines(True) if "[0.0]" in t) + done)
    assert (pairs(silent.loss), silent.other_solvers) == (pairs(run.loss), 2)


def test_losses_among_very_many_outputs_are_kept() -> None:
    vector = "".join(
        f"I0515 08:44:41.838122  1279 solver.cpp:244]     Train net output #{k}: prob = 0.5\n" for k in range(5000)
    )
    loss = "I0515 08:44:41.838122  1279 solver.cpp:244]     Train net output #5000: x = 2.5 (* 1 = 2.5 loss)\n"
    run = only(BEGUN + "".join(shown(n).splitlines(True)[0] + vector + loss for n in (0, 20)))
    assert pairs(next(output for output in run.outputs if output.number == 5000).series) == [(0, 2.5), (20, 2.5)]
    assert run.outputs_left_out == 5000 - 4096


@pytest.mark.parametrize("mark", ["[{}] ", "[1,{}]<stderr>:", "[1,{}]<stderr>: "])
def test_of_several_mpi_processes_one_is_read(mark: str) -> None:
    """Every process has a solver of its own and prints everything; process ids may be the same."""
    other = shown(0, "2.5") + shown(100, "2.75") + "".join(shown(n, "3.5") for n in range(200, 3000, 100))
    mine = "".join(shown(n) for n in range(0, 3000, 100))
    ours = [mark.format(0) + line for line in (STARTING + BEGUN + mine).splitlines(keepends=True)]
    theirs = [mark.format(1) + line for line in (STARTING + BEGUN + other).splitlines(keepends=True)]
    chance = random.Random(5)
    mixed = []
    while ours or theirs:
        side = ours if ours and (not theirs or chance.random() < 0.55) else theirs
        mixed.append(side.pop(0))
    content = "".join(mixed)
    run = only(content)
    assert pairs(run.loss) in ([(n, 1.5) for n in range(0, 3000, 100)], pairs(only("".join(other)).loss))
    assert len(run.lr.values) == 30
    assert [len(o.series.values) for o in run.outputs] == [30, 30]
    alone = only("".join(mark.format(0) + line for line in (BEGUN + mine).splitlines(keepends=True)))
    assert len(alone.loss.values) == 30


def test_another_process_that_continues_is_another_run() -> None:
    other = "I0515 08:44:41.838122  1300 "
    log = read(
        shown(0) + shown(100) + shown(100, "3.5", header=other) + shown(200, header=other) + shown(300, header=other)
    )
    assert [run.loss.iterations.tolist() for run in log.runs] == [[0, 100], [100, 200, 300]]


def test_the_number_of_runs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_tracker, "RUNS_KEPT", 10)
    log = read("".join(BEGUN + shown(n) for n in range(25)))
    assert [run.loss.iterations.tolist() for run in log.runs[-3:]] == [[22], [23], [24]]
    assert len(log.runs) == 11
    assert log.left_out == 14


# -- pasted and damaged text ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stars", ["(* 0.3", "( 0.3", "(\\* 0.3", "(_ 0.3", "(*0.3", "(0.3"])
def test_loss_weights_without_their_asterisk_are_read(stars: str) -> None:
    check_case(only(CASE.decode().replace("(* 0.3", stars)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_logs_in_any_encoding_are_read(encoding: str, newline: str) -> None:
    content = CASE.decode().replace("\n", newline).encode(encoding)
    check_case(only(content))
    if encoding == "utf-16":
        check_case(only(codecs.BOM_UTF16_BE + CASE.decode().encode("utf-16-be")))


def test_joined_lines_are_separated() -> None:
    check_case(only(CASE.replace(b"\n", b" ") + b"\n"))
    check_case(only(CASE.replace(b"\n", b"") + b"\n"))
    check_case(only(CASE.replace(b"\n", b"\r") + b"\n"))


def test_colours_nuls_and_carriage_returns_are_ignored() -> None:
    coloured = re.sub(rb"(Iteration|loss\d)", lambda m: b"\x1b[1;31m" + m[1] + b"\x1b[0m", CASE)
    check_case(only(coloured))
    check_case(only(b"\0\0" + CASE.replace(b"Iteration", b"Iter\0ation")))
    check_case(only(CASE.replace(b"\n", b"\n 10%|###   |\r 20%|####  |\r")))


@pytest.mark.parametrize("quote", ["> ", ">> ", '"', "`", "| ", "\t", "    "])
def test_quoted_lines_are_read(quote: str) -> None:
    end = quote if quote in '"`' else ""
    check_case(only("".join(f"{quote}{line}{end}\n" for line in CASE.decode().splitlines())))


def test_lines_without_prefix_are_read() -> None:
    bare = re.sub(rb"(?m)^.*?\] ", b"", CASE)
    check_case(only(bare))


def test_blanks_and_tags_of_web_pages_are_ignored() -> None:
    pasted = (
        CASE.decode().replace("] Train", "]\xa0\xa0Train").replace(" = ", "\xa0=  ").replace("loss =", "loss\u200b =")
    )
    check_case(only(pasted))
    check_case(only(CASE.decode().replace("\n", "<br>\n").replace("I0515", "<p>I0515")))


def test_of_two_alternating_solvers_one_is_read() -> None:
    """One process trains two nets, each in a thread of its own."""
    one, other = "I0515 08:44:41.8  7 ", "I0515 08:44:41.8  8 "
    log = read("".join(shown(10 + 2 * n, header=one) + shown(4 + n, "9.5", header=other) for n in range(50)))
    (run,) = log.runs
    assert pairs(run.loss) == [(10 + 2 * n, 1.5) for n in range(50)]


def test_other_lines_between_those_of_the_log_are_ignored() -> None:
    noise = (
        "I0515 08:44:41.838122 1279 net.cpp:593]     [Forward] Layer conv1, top blob conv1 data: 0.5\n"
        "I0515 08:44:41.838122 1279 net.cpp:621]     [Backward] Layer conv1, bottom blob data diff: 1e-05\n"
        "I0515 08:44:41.838122 1280 blocking_queue.cpp:50] Data layer prefetch queue empty\n"
        "W0515 08:44:41.838122 1280 data_layer.cpp:1] Iteration over the data ends\n"
        "I0515 08:44:41.838122 1279 sgd_solver.cpp:50] MultiStep Status: Iteration 5, step = 1\n"
        "I0515 08:44:41.838122 1279 caffe.cpp:390] Iteration: 5 forward-backward time: 3 ms.\n"
        "hello from Python: 0.5\nthe Iteration 17, loss = 3 that he means\n\nTest loss: 0.3\n{'loss': 3}\n"
    )
    log = read("".join(line + "\n" + noise for line in CASE.decode().splitlines()))
    check_case(log.runs[0])
    assert (log.used, log.damaged, log.noise) == (30, 0, 30 * 11)


@pytest.mark.parametrize("width", [66, 70, 72, 76, 80, 90, 100])
@pytest.mark.parametrize("indent", ["", "> "])
def test_lines_broken_within_a_word_give_no_wrong_value(width: int, indent: str) -> None:
    """An ambiguous line is counted as damaged."""
    lines = [line[n : n + width] for line in CASE.decode().splitlines() for n in range(0, len(line), width)]
    log = read("".join(f"{indent}{line}\n" for line in lines))
    check_subset(log)
    if not log.damaged:
        check_case(log.runs[0])


def check_subset(log: Log) -> None:
    """Check that everything that was read of a damaged case.log is in the undamaged one."""
    whole = read(CASE).runs[0]
    (run,) = log.runs
    assert set(pairs(run.loss)) <= set(pairs(whole.loss))
    assert set(pairs(run.lr)) <= set(pairs(whole.lr))
    for mine, theirs in ((run.outputs, whole.outputs), *zip(run.tests, whole.tests, strict=False)):
        known = heads(theirs)
        for key, values in heads(mine).items():
            assert set(values) <= set(known[key]), key


@pytest.mark.parametrize("width", range(40, 90, 3))
def test_lines_wrapped_between_words_are_joined(width: int) -> None:
    lines = [part for line in CASE.decode().splitlines() for part in textwrap.wrap(line, width, break_on_hyphens=False)]
    check_case(only("\n".join(lines) + "\n"))


def test_a_number_that_may_continue_on_the_next_line_gives_no_value() -> None:
    log = read("Iteration 40, loss = 9.72\n169\nIteration 80, loss = 9.72169\n123\nIteration 120, loss = 9.7\nhello\n")
    assert pairs(log.runs[0].loss) == [(80, 9.72169), (120, 9.7)]
    assert (log.used, log.damaged, log.noise) == (2, 1, 3)
    assert log.examples == ((1, "Iteration 40, loss = 9.72"),)


@pytest.mark.parametrize(
    "end", range(1, len(b"I0515 14:43:45.377710 1279 solver.cpp:228] Iteration 119040, loss = 8.3068"))
)
def test_a_line_cut_short_at_the_end_gives_no_value(end: int) -> None:
    line = b"I0515 14:43:45.377710 1279 solver.cpp:228] Iteration 119040, loss = 8.3068"
    log = read(shown(100).encode() + line[:end])
    assert pairs(log.runs[0].loss) == [(100, 1.5)]
    assert log.lines == 5
    assert log.used == 4


def test_a_complete_last_line_without_newline_is_read() -> None:
    output = "I0515 14:43:45.377710 1279 solver.cpp:244]     Train net output #4: z = 5.77026 (* 0.3 = 1.73108 loss)"
    for end in range(30, len(output)):
        assert len(only(shown(100) + output[:end]).outputs) == 2
    assert len(only(shown(100) + output).outputs) == 3
    assert only(shown(100) + "I0515 14:43:45.3 1279 solver.cpp:3] Optimization Done.").finished


@pytest.mark.parametrize(
    "line",
    [
        "I0515 14:43:45.377710 1279 solver.cpp:228] Iteration 119040, loss = ",
        "I0515 14:43:45.377710 1279 solver.cpp:228] Iteration 119040, loss = x",
        "I0515 14:43:45.377710 1279 solver.cpp:228] Iteration 119040, loss = 1.2.3",
        "I0515 14:43:45.377710 1279 solver.cpp:228] Iteration 119040, los",
        "I0515 14:43:45.377710 1279 solver.cpp:228] Iteration 99999999999999, loss = 1",
        "I0515 14:43:45.377710 1279 solver.cpp:244]     Train net output #0 loss1/loss1 = 1 (* 1 = 1 loss)",
        "I0515 14:43:45.377710 1279 solver.cpp:244]     Train net output #0: loss1/loss1 = 5.7 (* 0.3 = 1.7",
    ],
)
def test_damaged_lines_are_counted(line: str) -> None:
    log = read(shown(100) + line + "\n" + shown(120))
    assert pairs(log.runs[0].loss) == [(100, 1.5), (120, 1.5)]
    assert (log.used, log.damaged, log.noise) == (8, 1, 0)
    assert log.examples == ((5, line),)


def test_outputs_without_their_display_are_counted_as_unassigned() -> None:
    """A paste starts in the middle of a display, or a test pass has lost its first line."""
    train = "".join(shown(80).splitlines(keepends=True)[1:3])
    test = train.replace("Train", "Test")
    score = "I0515 14:43:45.377710 1279 solver.cpp:151] Test score #0: 0.9765\n"
    for content in (train + shown(100) + shown(120), test + shown(100) + shown(120), shown(100) + test + shown(120)):
        log = read(content)
        assert pairs(log.runs[0].loss) == [(100, 1.5), (120, 1.5)]
        assert (log.used, log.damaged, log.unassigned, log.noise) == (8, 0, 2, 0)
        assert not log.examples
    log = read(BEGUN + train + score + shown(100))
    assert (log.unassigned, log.damaged) == (3, 0)


@pytest.mark.parametrize("wrong", [1, 11, 1190, 9119040])
@pytest.mark.parametrize("which", ["loss", "lr"])
def test_a_damaged_iteration_number_starts_no_run(wrong: int, which: str) -> None:
    good = [shown(n) for n in range(118960, 119160, 40)]
    bad = re.sub(rf"Iteration 119040(.*, {which} =)", rf"Iteration {wrong}\1", good[2])
    assert bad != good[2]
    run = only("".join([*good[:2], bad, *good[3:]]))
    expected = list(range(118960, 119160, 40))
    kept = [n for n in expected if n != 119040]
    assert run.loss.iterations.tolist() == (kept if which == "loss" else expected)
    assert run.lr.iterations.tolist() == (expected if which == "loss" else kept)


def test_a_damaged_name_gives_no_output() -> None:
    content = "".join(shown(n) for n in range(0, 1000, 100))
    run = only(content.replace("a/loss", "a/lo$s", 3).replace("a/lo$s", "a/loss", 2))
    assert [(o.name, len(o.series.values)) for o in run.outputs] == [("a/loss", 9), ("acc", 10)]


def test_repeated_lines_count_once() -> None:
    log = read("".join(line * 2 for line in shown(0).splitlines(keepends=True)) + shown(100))
    assert pairs(log.runs[0].loss) == [(0, 1.5), (100, 1.5)]
    assert [len(o.series.values) for o in log.runs[0].outputs] == [2, 2]
    assert (log.used, log.noise) == (8, 4)


@pytest.mark.parametrize(
    "content",
    ["", "\n", "hello\nworld", "Epoch 1/10\nTest loss: 0.3\nTest accuracy: 0.9\n", "Optimization Done.\n",
     '  LOG(INFO) << "Solving " << name; "Initializing solver from parameters: "',
     "base_lr: 0.01\nnet: \"x\"\n", "\0" * 5000, "Train net output #0: loss = 3 (* 1 = 3 loss)\n"],
)  # fmt: skip
def test_text_without_a_log_has_no_run(content: str) -> None:
    assert read(content).runs == ()


# -- pasted solver ----------------------------------------------------------------------------------------------------


def test_a_solver_pasted_on_one_line_and_with_comments() -> None:
    run = only('> base_lr: 0.001 lr_policy: "poly"\ndisplay: 40 # often\n' + shown(40))
    assert run.solver_text == 'base_lr: 0.001 lr_policy: "poly"\ndisplay: 40\n'


def test_a_solver_printed_by_caffe_has_priority_over_a_pasted_one() -> None:
    text = only("display: 40\n" + STARTING + BEGUN + shown(40)).solver_text
    assert text is not None
    assert text.startswith("base_lr: 0.01\n")


def test_a_solver_that_was_cut_out_is_taken_from_the_pasted_one() -> None:
    begun = "I0708 09:54:01.458295  3435 solver.cpp:44] Initializing solver from parameters: \n...\n"
    assert only("display: 40\n" + begun + BEGUN + shown(40)).solver_text == "display: 40\n"
    assert only(begun + BEGUN + shown(40)).solver_text is None


# -- files ------------------------------------------------------------------------------------------------------------


def test_compressed_logs_are_read_even_if_damaged(tmp_path: Path) -> None:
    path = tmp_path / "caffe.log"
    packed = gzip.compress(CASE[:1000]) + gzip.compress(CASE[1000:])
    path.write_bytes(packed)
    check_case(read_path(str(path)).runs[0])
    path.write_bytes(packed[:-200])
    check_subset(read_path(str(path)))
    path.write_bytes(packed + b"rubbish")
    check_case(read_path(str(path)).runs[0])


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    for path in (tmp_path / "none.log", tmp_path):
        with pytest.raises(BadInput, match="cannot be read"):
            read_path(str(path))


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(CASE)))
    check_case(read_path("-").runs[0])


# -- growing files, pieces, and many lines at once --------------------------------------------------------------------


def long_log(displays: int = 400) -> bytes:
    content = [STARTING, BEGUN]
    for n in range(0, displays * 40, 40):
        content.append(shown(n, f"{math.sin(n) + 2:g}", lr=f"{0.01 / (n + 1):g}"))
        if n % 400 == 0:
            content.append(f"I0515 08:44:41.838122  1279 solver.cpp:347] Iteration {n}, Testing net (#0)\n")
            content.append("I0515 08:44:41.838122  1279 solver.cpp:424]     Test net output #0: acc = 0.5\n")
        if n % 1000 == 0:
            content.append("I0515 08:44:41.838122  1279 blocking_queue.cpp:50] Data layer prefetch queue empty\n")
    return "".join(content).encode()


def test_reading_in_pieces_gives_the_same_log() -> None:
    content = long_log()
    whole = everything(read(content))
    for seed in range(5):
        cuts = sorted(random.Random(seed).sample(range(len(content)), 50))
        assert everything(in_pieces(content, cuts, asked=True)) == whole
        assert everything(in_pieces(content, cuts, line_by_line=True)) == whole
    head = content[:9000]
    assert everything(in_pieces(head, list(range(1, len(head))))) == everything(read(head))
    sixteen = head.decode().encode("utf-16")
    assert everything(in_pieces(sixteen, list(range(1, len(sixteen))))) == everything(read(head))


class CountingReader(LogReader):
    """A reader that counts the lines that it reads one by one."""

    alone = 0

    def _read_line(self, line: bytes, cut: bool = False) -> None:
        self.alone += 1
        super()._read_line(line, cut)


def test_most_of_a_long_log_is_read_in_bulk() -> None:
    with_test_passes = "".join(
        f"I0515 08:44:41.838122  1279 solver.cpp:337] Iteration {n}, Testing net (#{net})\n"
        f"I0515 08:44:41.838122  1279 solver.cpp:404]     Test net output #0: acc = {n / 9000:g}\n"
        + (shown(n) if net else "")
        for n in range(0, 9000, 20)
        for net in range(2)
    ).encode()
    for content in (
        long_log(),
        "".join(f"Iteration {n}, loss = {n / 7:g}\n" for n in range(0, 9000, 10)).encode(),
        re.sub(rb"(?m)^", b"caffe_1  | ", long_log()),
        re.sub(rb"(?m)^", b"2016-05-15T08:44:41.123456789Z ", long_log()),
        long_log().replace(b"\n", b"\r\n"),
        "".join(
            f"I0306 10:27:54.235158 13 solver.cpp:347] Iteration {n} (12.3 iter/s, 8.1s/100 iter), "
            f"{n / 77:.1f}/90ep, loss = {n / 7:g}\n"
            f"I0306 10:27:54.235158 13 solver.cpp:371]     Train net output #0: x = {n / 9:g} (* 1 = {n / 9:g} loss)\n"
            f"I0306 10:27:54.235158 13 sgd_solver.cpp:170] Iteration {n}, lr = 0.01, m = 0.9, wd = 0.0004, gs = 1\n"
            for n in range(0, 9000, 10)
        ).encode(),
        "".join(
            f"I0425 10:13:21.205826  9167 solver.cpp:208] Iteration {n}, lr = {1 / (n + 1):g}\n"
            f"I0425 10:13:21.206111  9167 solver.cpp:65] Iteration {n}, loss = {n / 7:g}\n"
            for n in range(0, 9000, 10)
        ).encode(),
        b"".join(long_log(60) for _ in range(15)),  # many runs
        with_test_passes,
        re.sub(
            rb"(?m)^(.* #1: .*\n)", rb"\1I0515 08:44:41.8 1279 data_layer.cpp:73] Restarting it\n", with_test_passes
        ),
    ):
        growing = CountingReader("x.log")
        growing.feed(content)
        growing.close()
        assert growing.alone < content.count(b"\n") / 4
        assert everything(growing.log()) == everything(in_pieces(content, [], line_by_line=True))
        assert growing.log().damaged == 0


def pass_of(iteration: int, net: int = 0) -> str:
    """A test pass of Caffe 1.0."""
    header = "I0515 08:44:41.838122  1279 solver.cpp"
    return (
        f"{header}:347] Iteration {iteration}, Testing net (#{net})\n"
        f"{header}:424]     Test net output #0: a/loss = {iteration / 7:g} (* 0.3 = {iteration / 21:g} loss)\n"
        f"{header}:424]     Test net output #1: acc = {iteration / 9:g}\n"
    )


SCORED = (
    "I1203 07:00:05.000001  1279 solver.cpp:106] Iteration 0, Testing net (#0)\n"
    "I1203 07:00:05.000001  1279 solver.cpp:142] Test score #0: 0.625\n"
    "I1203 07:00:05.000001  1279 solver.cpp:142] Test score #1: 1.25\n"
    "I1203 07:00:05.000001  1279 solver.cpp:146] Test loss: 1.5\n"
)
OTHER_LINES = (
    "I0515 08:44:41.838122  1283 data_layer.cpp:73] Restarting data prefetching from start.\n",
    "I0515 08:44:41.838122  1279 net.cpp:592]     [Forward] Layer Test, top blob 1x1 data: 0.5\n",
    "epoch 3: mean 0.25\n",
    " batch_size: 4\n",
    "display: 40\n",
    "0.5\n",
    "e-05\n",
    "\n",
    "I0515 08:44:41.838122  1279 solver.cpp:464] Snapshotting to binary proto file x_iter_40.caffemodel\n",
)


@pytest.mark.parametrize(
    "form",
    [
        lambda n: pass_of(n) + shown(n),
        lambda n: shown(n) + (pass_of(n) if n % 60 == 0 else ""),
        lambda n: shown(n) + (pass_of(n + 7) + pass_of(n + 7, 1) if n % 60 == 0 else ""),
        lambda n: OTHER_LINES[1].replace("Test", "conv1") * 9 + shown(n, f"{n / 7:g}"),
        lambda n: shown(n) + OTHER_LINES[2] * 5,
        lambda n: shown(n) + OTHER_LINES[0] * (n % 60 == 0),
        lambda n: shown(n) + (SCORED.replace("0,", f"{n},") if n % 60 == 0 else ""),
    ],
)
def test_test_passes_and_other_output_are_read_in_bulk(form: Callable[[int], str]) -> None:
    content = "".join(map(form, range(0, 8000, 20))).encode()
    growing = CountingReader("x.log")
    growing.feed(content)
    growing.close()
    assert growing.alone < content.count(b"\n") / 10
    assert everything(growing.log()) == everything(in_pieces(content, [], line_by_line=True))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(("shown", "tested", "second", "scored", "bare", "on", *OTHER_LINES)), max_size=80),
    st.integers(1, 9),
)
def test_bulk_and_line_by_line_reading_agree_on_any_order(pieces: list[str], step: int) -> None:
    iteration, content = 3, "".join(shown(n) + pass_of(n) for n in range(3))
    for piece in pieces:
        iteration += step if piece == "on" else 0
        content += {
            "shown": shown(iteration),
            "tested": pass_of(iteration),
            "second": pass_of(iteration, 1),
            "scored": SCORED.replace("0,", f"{iteration},"),
            "bare": shown(iteration, header="").replace("solver.cpp:239] ", "").replace("sgd_solver.cpp:112] ", ""),
            "on": "",
        }.get(piece, piece)
    check_reading(content.encode(), [len(content) // 2])


def test_a_growing_log_is_read_up_to_its_last_line() -> None:
    growing = LogReader("x.log")
    growing.feed(shown(0).encode())
    assert pairs(growing.log().runs[0].loss) == [(0, 1.5)]
    growing.feed(shown(100, "1.75").encode()[:-30])
    assert pairs(growing.log().runs[0].loss) == [(0, 1.5), (100, 1.75)]
    assert pairs(growing.log().runs[0].lr) == [(0, 0.01)]
    growing.feed(shown(100).encode()[-30:] + shown(200).encode())
    assert [n for n, _ in pairs(growing.log().runs[0].lr)] == [0, 100]
    growing.close()
    assert [n for n, _ in pairs(growing.log().runs[0].lr)] == [0, 100, 200]


# -- length -----------------------------------------------------------------------------------------------------------


def test_a_series_keeps_the_newest_values_and_thins_the_old_evenly() -> None:
    one, many = GrowingSeries(64), GrowingSeries(64)
    numbers = list(range(1000))
    for n in numbers:
        one.append(n, n / 2)
    for begin in range(0, 1000, 77):
        many.extend(numbers[begin : begin + 77], iter([n / 2 for n in numbers[begin : begin + 77]]))
    assert pairs(one.series()) == pairs(many.series())
    kept = one.series().iterations
    assert one.thinned
    assert len(kept) <= 96
    assert kept[-32:].tolist() == numbers[-32:]
    assert kept[0] == 0
    old = kept[: -(len(one.iterations))]
    assert len(set(np.diff(old).tolist())) == 1
    assert (one.series().values == kept / 2).all()


def test_a_long_run_is_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.caffe_log.runs.KEPT", 128)
    monkeypatch.setattr(GrowingSeries.__init__, "__defaults__", (128,))
    content = long_log(2000)
    log = read(content)
    assert log.thinned
    run = log.runs[0]
    assert run.loss.iterations[-64:].tolist() == list(range(2000 * 40 - 64 * 40, 2000 * 40, 40))
    assert run.outputs[0].series.iterations.tolist() == run.loss.iterations.tolist()
    assert everything(log) == everything(in_pieces(content, [], line_by_line=True))


def test_memory_does_not_grow_with_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "LONGEST_LINE", 1 << 15)
    monkeypatch.setattr(embedded_prototxt, "_LONGEST", 1 << 14)
    size = 1 << 17
    pieces = {
        "one endless line": b"x" * size,
        "noise": random.Random(3).randbytes(size),
        "lines": b"hello\n" * (size // 6),
        "anchors": b"Iteration 1 " * (size // 12),
        "names": b"".join(b"Train net output #%d: n%d = 1 (* 1 = 1 loss)\n" % (n, n) for n in range(2_500)),
        "damaged": b"Iteration 5, loss = x\n" * (size // 20),
        "solvers": b"display: 40\n" * (size // 12),
        "net": b"I0515 08:44:35.000004  1279 net.cpp:53] Initializing net from parameters: \n"
        + b"a: 3\n" * (size // 5),
    }
    for name, piece in pieces.items():
        growing = LogReader("x.log")
        growing.feed((BEGUN + shown(0)).encode())
        growing.feed(piece)
        growing.feed(piece)
        tracemalloc.start()
        growing.feed(piece)
        growing.feed(piece)
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert grown < size // 2, name


def test_a_line_that_is_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "LONGEST_LINE", 1000)
    display = shown(0).encode()
    content = (
        display
        + b"x" * 5000
        + b"\n"
        + shown(100).encode()
        + b"y" * 999
        + b"\n"
        + b"z" * 1000
        + b"\n"
        + shown(200).encode()
    )
    whole = read(content)
    assert whole.runs[0].loss.iterations.tolist() == [0, 100, 200]
    assert (whole.lines, whole.noise, whole.used) == (15, 3, 12)
    for seed in range(20):
        cuts = sorted(random.Random(seed).sample(range(len(content)), seed))
        assert everything(in_pieces(content, cuts)) == everything(whole)


@pytest.mark.parametrize(
    "piece",
    [b"Iteration 1 ", b"x Iteration 1 ", b"I0515 08:44:41.838122 1279 ", b"I0515 08:44:41.8 1279 a:1] Iteration 40, ",
     b"Train net output #0: a = ", b"Train net output #0: a = 1 (* 1 = 1 loss) ", b" = 1", b"I0515 ",
     b"display: 1,", b"display: 1 ", b"Iteration 11111111111", b"((((", b"Test loss: ", b"Snapshotting to a ",
     b"Solving I0515 08:44:41.8 1 a:1] ",
     b"F0515 08:44:41.8 1 a:1] ",
     b"\x1b[", b"\x1b]", b":1:1:1:1", b" ", b">", b"1", b"e", b"[0] ", b"Test", b"\r", b"ep,", b"/a/a/a/"],
)  # fmt: skip
def test_reading_time_is_linear_in_the_length_of_a_line(piece: bytes) -> None:
    """A quadratic time would reach the time limit of the test."""
    for before in (
        b"",
        b"I0515 08:44:41.838122 1279 solver.cpp:1] Iteration 40, loss = ",
        b"Iteration 1",
        b"Train net output #0: x",
    ):
        read(before + piece * (400_000 // len(piece)) + b"\n")


# -- damaged and arbitrary input --------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [b"Iteration ", b"40", b", loss = ", b", lr = ", b"9.7", b"nan", b"Train net output #", b"Test net output #",
     b"0: x = ", b" (* 1 = 9.7 loss)", b"\n", b"\r\n", b"I0515 08:44:41.838122 1279 solver.cpp:228] ",
     b"Testing net (#0)", b" ", b"> ", b"Solving x",
     b"Initializing net from parameters: ", b"Snapshotting to a_iter_7.caffemodel",
     b"F0515 08:44:41.838122 1279 a.cpp:1] ",
     b"\0", b"\x1b[0m", b"\xff\xfe", b"1" * 30, b"Test score #1: 0.5", b"display: 40",
     b"I0515 08:44:41.8 80 solver.cpp:1] Iteration 80, loss = 3\n"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS | st.binary(max_size=5), max_size=60).map(b"".join), st.data())
def test_any_bytes_are_read_without_contradiction(content: bytes, data: st.DataObject) -> None:
    assume(not content.startswith(decode.GZIP))  # compressed input is not read in pieces
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    check_reading(content, cuts)


@pytest.mark.parametrize("seed", range(120))
def test_mutated_logs_are_read_without_contradiction(seed: int) -> None:
    chance = random.Random(seed)
    content = mutated(long_log(30) if seed % 2 else QUESTION, chance)[1]
    check_reading(content, sorted(chance.randint(0, len(content)) for _ in range(5)))


@pytest.mark.parametrize("first", range(0, 240, 40))
def test_mutated_logs_of_the_campaign_are_diagnosed(first: int) -> None:
    cases = [CAMPAIGN.check(number) for number in range(first, first + 40)]
    assert all(case.outcome in ("diagnosed", "no training run") for case in cases)
    assert sum(case.outcome == "diagnosed" for case in cases) > 20


@pytest.mark.parametrize("seed", range(40))
def test_truncated_lines_give_no_wrong_value(seed: int) -> None:
    chance = random.Random(seed)
    lines = CASE.splitlines()
    place = chance.randrange(len(lines))
    lines[place] = lines[place][: chance.randrange(len(lines[place]))]
    whole = read(CASE).runs[0]
    run = read(b"\n".join(lines)).runs[0]
    lost = {(n, v) for n, v in pairs(run.loss)} - {(n, v) for n, v in pairs(whole.loss)}
    # a cut number within a log cannot be told from a shorter one
    assert all(str(dict(pairs(whole.loss))[n]).startswith(f"{v:g}") for n, v in lost)


@pytest.mark.parametrize("seed", range(20))
def test_bulk_and_line_by_line_reading_agree_on_damaged_logs(seed: int) -> None:
    chance = random.Random(seed)
    content = bytearray(long_log(200))
    for _ in range(30):
        place = chance.randrange(len(content))
        content[place] = chance.choice(b"0123456789 \n.,e-nI")
    check_reading(bytes(content), sorted(chance.sample(range(len(content)), 5)))


def test_a_device_is_no_log() -> None:
    with pytest.raises(BadInput, match="/dev/zero: cannot be read \\(a device\\)"):
        read_path("/dev/zero")


def test_a_cut_exponent_among_many_lines_gives_no_value() -> None:
    content = long_log(60).decode().replace("lr = 2.77008e-05\n", "lr = 2.77008e-\n")
    assert "2.77008e-\n" in content
    check_reading(content.encode(), [])


def test_lines_without_a_common_form_have_no_pattern() -> None:
    line = b"Iteration 1, loss = 2"
    (loss,) = parse_line(line)
    (output,) = parse_line(b"Train net output #0: x = 1")
    assert pattern_source([(line, loss)]) is not None
    for others in (
        [(line, loss._replace(kind="lr"))],
        [(b"", output), (line, loss)],
        [(line, loss)] * 2,
        [(line, loss)] * 500,
    ):
        assert pattern_source(others) is None


def test_the_log_that_the_benchmark_writes_is_read(tmp_path: Path) -> None:
    size = write_log(tmp_path / "made.log", 0.3)
    assert size > 300_000
    found = read_path(str(tmp_path / "made.log"))
    (run,) = found.runs
    assert found.used == found.lines - 1
    assert run.loss.iterations.tolist() == list(range(40, 40 * len(run.loss.values) + 1, 40))
    assert len(run.tests[0][0].series.values) == len(run.loss.values) / 100
