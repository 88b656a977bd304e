"""Whatever becomes of the display, the training goes on as if it were there.

The oracle is the same run undisturbed. A run whose terminal or pipe fails must have its digests, snapshots and exit
code; one that a signal ends must have a snapshot of its last iteration.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest

from harness.recording import Recording
from tests.helpers.commands import RESTART, RUN, train
from tests.helpers.mounts import run_on_disk
from tests.helpers.nets import data_layer, small_net, solver_text
from tests.helpers.processes import PATIENCE, command, started, wait_for
from tests.helpers.terminals import drain, session_on_terminal

ITERATIONS = 1500
UNTIL = ("--until", ITERATIONS)
PYTHON = sys.executable

pytestmark = pytest.mark.usefixtures("one_blas_thread")


@pytest.fixture(scope="module")
def solver(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    """A solver of many more than ITERATIONS, with test passes and snapshots to talk about."""
    home = tmp_path_factory.mktemp("display")
    (home / "net.prototxt").write_text(small_net(digit_data))
    fields = {"max_iter": 100 * ITERATIONS, "test_interval": 100, "snapshot": 500}
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "native", **fields))
    return home / "solver.prototxt"


@pytest.fixture(scope="module")
def digests(tmp_path_factory: pytest.TempPathFactory, solver: Path) -> np.ndarray:
    """The digests of the undisturbed run."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    train(solver, out, *UNTIL)
    assert info_of(out)["display"] is None
    return digests_of(out)


def digests_of(run: Path) -> np.ndarray:
    with h5py.File(run / "recording.h5") as file:
        assert file.attrs["closed"]
        digests: np.ndarray = file["digest"][()]
    return digests


def info_of(run: Path) -> dict[str, Any]:
    info: dict[str, Any] = json.loads((run / "run.json").read_text())
    return info


def check_whole(run: Path, digests: np.ndarray, dropped: str | None) -> None:
    """Check that a run is complete, and why its display was dropped."""
    np.testing.assert_array_equal(digests_of(run), digests)
    info = info_of(run)
    assert (info["ended"]["code"], info["ended"]["iteration"]) == (0, ITERATIONS)
    assert {p.stem for p in (run / "snapshots").glob("*.caffemodel")} == {f"native_iter_{i}" for i in (500, 1000, 1500)}
    if dropped is None:
        assert info["display"] is None
    else:
        assert info["display"].startswith("dropped ")
        assert dropped in info["display"]


def check_interrupted(run: Path, digests: np.ndarray | None = None) -> None:
    """Check that a run was ended in order: with a snapshot of its last iteration."""
    ended = info_of(run)["ended"]
    assert ended["code"] == 130
    (about,) = (run / "snapshots").glob(f"*_iter_{ended['iteration']}.json")
    assert json.loads(about.read_text())["weight_digest"] == ended["weight_digest"]
    found = digests_of(run)
    assert len(found) == ended["iteration"]
    if digests is not None:
        np.testing.assert_array_equal(found, digests[: len(found)])


def rows(run: Path) -> int:
    if not (run / "recording.h5").exists():
        return 0
    with Recording(run) as recording:
        return len(recording.iterations)


@dataclass(frozen=True)
class Slow:
    """A net that takes a tenth of a second for an iteration."""

    solver: Path
    env: Mapping[str, str]


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Slow:
    home = tmp_path_factory.mktemp("slow")
    (home / "slow.py").write_text("""
import multiprocessing, time
import caffe
class Slow(caffe.Layer):
    def setup(self, bottom, top):
        self.child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,), daemon=True)
        self.child.start()  # at the end, Python ends it by SIGTERM
        print("child", self.child.pid, flush=True)
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top):
        time.sleep(0.1)
        top[0].data[...] = bottom[0].data
    def backward(self, top, down, bottom):
        pass
""")
    (home / "net.prototxt").write_text(f"""
{data_layer(digit_data / "train", "TRAIN", 8, "")}
layer {{ name: "slow" type: "Python" bottom: "data" top: "slow" python_param {{ module: "slow" layer: "Slow" }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "slow" top: "ip"
  inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
""")
    fields = {"max_iter": 1000, "snapshot": 0, "test_iter": None, "test_interval": None}
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "native", **fields))
    path = os.pathsep.join([str(home), *filter(None, [os.environ.get("PYTHONPATH")])])
    return Slow(home / "solver.prototxt", {"PYTHONPATH": path})


# -- the reader of a pipe ends ----------------------------------------------------------------------------------------


def test_a_pipe_whose_reader_ends_after_one_line(tmp_path: Path, solver: Path, digests: np.ndarray) -> None:
    script = f"""
{PYTHON} {RUN} --solver {solver} --until 1500 --out {tmp_path}/run 2>&1 > /dev/null | head -1
exit ${{PIPESTATUS[0]}}"""
    done = command("bash", "-c", script)
    assert done.code == 0
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    check_whole(tmp_path / "run", digests, "[Errno 32] Broken pipe")


def test_a_broken_standard_output(tmp_path: Path, solver: Path, digests: np.ndarray) -> None:
    script = f'"$0" {RUN} --solver {solver} --until 1500 --out "$1/run" | true; exit ${{PIPESTATUS[0]}}'
    done = command("bash", "-c", script, PYTHON, tmp_path)
    assert done.code == 0
    assert "Done: iteration" in done.stderr
    assert "Exception" not in done.stderr
    check_whole(tmp_path / "run", digests, None)


def test_ctrl_c_that_also_ends_tee_takes_a_snapshot(tmp_path: Path, solver: Path, digests: np.ndarray) -> None:
    out = tmp_path / "run"
    script = (
        f'"$0" {RUN} --solver {solver} --out {out} 2>&1 | tee {tmp_path}/log; echo ${{PIPESTATUS[0]}} > {tmp_path}/code'
    )
    with session_on_terminal("bash", "-c", f"trap : INT; {script}", PYTHON) as (process, terminal):
        wait_for(lambda: rows(out) > 0, process)
        os.write(terminal, b"\x03")
        drain(terminal)
        process.wait(PATIENCE)
    assert (tmp_path / "code").read_text() == "130\n"
    check_interrupted(out, digests)


# -- the terminal is lost or stands still -----------------------------------------------------------------------------


@pytest.mark.parametrize("option", [UNTIL, ("--on-hangup", "stop")])
def test_a_closed_terminal(tmp_path: Path, solver: Path, digests: np.ndarray, option: tuple[object, ...]) -> None:
    out = tmp_path / "run"
    arguments = (PYTHON, RUN, "--solver", solver, "--out", out, *option)
    with session_on_terminal(*arguments) as (process, terminal):
        wait_for(lambda: rows(out) > 0, process)
        os.close(terminal)
        code = process.wait(PATIENCE)
    if "stop" in option:
        assert code == 130
        check_interrupted(out, digests)
    else:
        assert code == 0
        check_whole(out, digests, "[Errno 5] Input/output error")


def test_a_stopped_terminal(tmp_path: Path, solver: Path, digests: np.ndarray) -> None:
    out = tmp_path / "run"
    with session_on_terminal(PYTHON, RUN, "--solver", solver, "--out", out, *UNTIL) as (process, terminal):
        os.write(terminal, b"\x13")  # Ctrl-S
        assert process.wait(PATIENCE) == 0
    check_whole(out, digests, "standard error took no output")


def test_sigterm_ends_a_run_on_a_dead_terminal(tmp_path: Path, solver: Path, digests: np.ndarray) -> None:
    """As behind a dead connection: nobody reads, and the terminal's buffer is full."""
    out = tmp_path / "run"
    with session_on_terminal(PYTHON, RUN, "--solver", solver, "--out", out) as (process, _):
        theirs = os.open(f"/proc/{process.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        for _ in range(5):  # a part of the buffer becomes free after a moment
            with suppress(BlockingIOError):
                while os.write(theirs, b"." * 1000):
                    pass
            time.sleep(0.02)
        os.close(theirs)
        wait_for(lambda: rows(out) > 0, process)
        process.terminate()
        assert process.wait(PATIENCE) == 130
    check_interrupted(out, digests)
    assert "standard error took no output" in info_of(out)["display"]


def test_a_terminal_that_stands_still_for_a_while_loses_no_message(
    tmp_path: Path, solver: Path, digests: np.ndarray
) -> None:
    out = tmp_path / "run"
    with session_on_terminal(PYTHON, RUN, "--solver", solver, "--out", out, *UNTIL) as (process, terminal):
        os.write(terminal, b"\x13")  # Ctrl-S
        wait_for(lambda: rows(out) > 600, process)
        os.write(terminal, b"\x11")  # Ctrl-Q
        drawn = drain(terminal).decode()
        assert process.wait(PATIENCE) == 0
    for said in ("Recording small", "Snapshot of iteration 500", "Snapshot of iteration 1,500", "Done: iteration 1500"):
        assert said in drawn
    check_whole(out, digests, None)


def test_a_full_disk_under_standard_error(tmp_path: Path, solver: Path, digests: np.ndarray) -> None:
    script = f"""
head -c 65000 /dev/zero > "$DISK/filler"
{PYTHON} {RUN} --solver {solver} --until 1500 --out {tmp_path}/run 2> "$DISK/log" """
    done = run_on_disk("64k", tmp_path / "disk", script)
    assert (done.code, done.stdout.strip()) == (0, str(tmp_path / "run"))
    check_whole(tmp_path / "run", digests, "[Errno 28] No space left on device")


def test_the_process_that_draws_is_killed(tmp_path: Path, solver: Path, digests: np.ndarray) -> None:
    out = tmp_path / "run"
    with started(PYTHON, RUN, "--solver", solver, "--out", out, *UNTIL, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: rows(out) > 0, process)
        (drawing,) = (p for p in psutil.Process(process.pid).children() if "harness.worker.main" not in p.cmdline())
        drawing.kill()
        wait_for(lambda: info_of(out)["display"], process)  # noted at once
        assert process.wait(PATIENCE) == 0
    check_whole(out, digests, "the process that draws has died")


# -- closed descriptors -----------------------------------------------------------------------------------------------


def test_closed_descriptors(tmp_path: Path, solver: Path, digests: np.ndarray) -> None:
    script = f'"$0" {RUN} --solver {solver} --until 1500 --out {tmp_path}/run --watch 10:20 <&- >&- 2>&-'
    assert command("bash", "-c", script, PYTHON).code == 0
    check_whole(tmp_path / "run", digests, None)
    with Recording(tmp_path / "run") as recording:
        assert len(recording.window_iterations) == 10


def test_commands_run_with_closed_descriptors(tmp_path: Path, solver: Path) -> None:
    train(solver, tmp_path / "run", "--until", 20, "--snapshot-every", 10)
    script = f"""
exec <&- >&- 2>&-
{PYTHON} {RESTART} {tmp_path}/run --from 10 --until 30 --out {tmp_path}/again || exit 10
{PYTHON} -m harness readlog {tmp_path}/run --csv {tmp_path}/log.csv; [ $? = 1 ] || exit 12
{PYTHON} -m harness compare {tmp_path}/run {tmp_path}/again; [ $? = 1 ] || exit 13
{PYTHON} -m harness run --solver {tmp_path}/none; [ $? = 2 ] || exit 14
{PYTHON} -m harness run --nonsense; [ $? = 2 ] || exit 15"""
    assert command("bash", "-c", script).code == 0
    assert len(digests_of(tmp_path / "again")) == 20


# -- signals ----------------------------------------------------------------------------------------------------------


@contextmanager
def running_slowly(out: Path, slow: Slow, *options: object) -> Iterator[subprocess.Popen[str]]:
    arguments = (PYTHON, RUN, "--solver", slow.solver, "--out", out, *options)
    with (
        out.with_suffix(".stderr").open("w") as stderr,
        started(*arguments, env=slow.env, stderr=stderr, stdout=subprocess.DEVNULL) as process,
    ):
        wait_for(lambda: rows(out) > 0, process)
        yield process


@pytest.mark.parametrize("sent", ["SIGTERM SIGHUP SIGTERM", "SIGHUP SIGHUP", "SIGTERM SIGINT"])
def test_several_signals_are_one_request(tmp_path: Path, slow: Slow, sent: str) -> None:
    option = ("--on-hangup", "stop") if sent.startswith("SIGHUP") else ()
    with running_slowly(tmp_path / "run", slow, *option) as process:
        for name in sent.split():
            process.send_signal(signal.Signals[name])
            time.sleep(0.06)  # longer than the supervisor takes to look
        assert process.wait(PATIENCE) == 130
    check_interrupted(tmp_path / "run")


def test_a_hangup_is_no_request_unless_asked_for(tmp_path: Path, slow: Slow) -> None:
    with running_slowly(tmp_path / "run", slow) as process:
        process.send_signal(signal.SIGHUP)
        said = tmp_path / "run.stderr"
        wait_for(lambda: "SIGHUP: the run continues" in said.read_text(), process)
        before = rows(tmp_path / "run")
        wait_for(lambda: rows(tmp_path / "run") > before + 2, process)
        process.terminate()
        assert process.wait(PATIENCE) == 130
    check_interrupted(tmp_path / "run")


def test_a_signal_to_all_processes_of_a_run_ends_it_in_order(tmp_path: Path, slow: Slow) -> None:
    """As systemd and batch systems send it. A process that a Python layer ends by SIGTERM does not outlive the run."""
    with running_slowly(tmp_path / "run", slow) as process:
        child = psutil.Process(int((tmp_path / "run/solver.log").read_text().split("child ")[1].split()[0]))
        others = [p for p in psutil.Process(process.pid).children(recursive=True) if p != child]
        assert len(others) == 2  # the worker and the process that draws
        for name in ("SIGTERM", "SIGHUP"):
            for pid in (process.pid, *(p.pid for p in others)):
                os.kill(pid, signal.Signals[name])
        assert process.wait(PATIENCE) == 130
        assert not child.is_running()
    check_interrupted(tmp_path / "run")
    assert "Interrupted" in (tmp_path / "run.stderr").read_text()


def test_prefetch_processes_survive_a_signal_to_all(tmp_path: Path, solver: Path, digests: np.ndarray) -> None:
    train(solver, tmp_path / "first", "--until", 500)
    resume = ("--resume", tmp_path / "first/snapshots/native_iter_500.solverstate")
    out = tmp_path / "run"
    with started(PYTHON, RUN, "--solver", solver, *resume, "--out", out, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: rows(out) > 0, process)
        for pid in (*(p.pid for p in psutil.Process(process.pid).children(recursive=True)), process.pid):
            os.kill(pid, signal.SIGTERM)
        assert process.wait(PATIENCE) == 130
    found = digests_of(out)
    assert info_of(out)["ended"]["iteration"] == 500 + len(found)
    np.testing.assert_array_equal(found, digests[500 : 500 + len(found)])


def test_background_output_does_not_stop_a_run(tmp_path: Path, solver: Path, digests: np.ndarray) -> None:
    """`stty tostop`: a write from the background would stop all processes of the job (SIGTTOU)."""
    out = tmp_path / "run"
    script = f'stty tostop; set -m; "$0" {RUN} --solver {solver} --until 1500 --out {out} & wait $!; exit $?'
    with session_on_terminal("bash", "-c", script, PYTHON) as (process, terminal):
        drain(terminal)
        assert process.wait(PATIENCE) == 0
    check_whole(out, digests, None)


def test_messages_that_nobody_takes_are_bounded(tmp_path: Path) -> None:
    program = """
from harness.reports.terminal_process import TerminalProcess
terminal = TerminalProcess()
for _ in range(10_000):
    terminal.message("x" * 1000)
print(terminal.dropped)
"""
    with session_on_terminal(PYTHON, "-c", program, stdout=subprocess.PIPE) as (process, terminal):
        os.write(terminal, b"\x13")
        said = process.communicate(timeout=PATIENCE)[0]
    assert said == "dropped before the first iteration: 4 MiB of messages are waiting for standard error\n"
