"""Whichever process dies, at whatever moment, and when the disk is full: nothing that was recorded is lost.

The oracle is the same run undisturbed: a run that was cut short must contain its first iterations, bit for bit.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest

from harness.recording import Recording
from tests.helpers.commands import RUN, train
from tests.helpers.lmdbs import digits, write_lmdb
from tests.helpers.mounts import run_on_disk
from tests.helpers.nets import data_layer, small_net, solver_text
from tests.helpers.processes import PATIENCE, Finished, started, wait_for

ITERATIONS, WINDOW, ENOUGH = 800, (60, 460), 8000
WATCH = ("--watch", "{}:{}".format(*WINDOW))


# -- a run in progress, watched from outside --------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """A run of the harness in progress: its supervisor, its directory, and what it has printed so far."""

    process: subprocess.Popen[str]
    out: Path
    printed: Path

    @property
    def recording(self) -> Path:
        return self.out / "recording.h5"

    @property
    def stderr(self) -> str:
        return self.printed.read_text()

    @property
    def info(self) -> dict[str, Any]:
        """The content of run.json."""
        info: dict[str, Any] = json.loads((self.out / "run.json").read_text())
        return info

    @property
    def ended(self) -> dict[str, Any]:
        """The end of the run, as run.json has it."""
        ended: dict[str, Any] = self.info["ended"]
        return ended

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` holds; the supervisor must not end before that."""
        wait_for(condition, self.process)

    def worker(self) -> psutil.Process:
        """The worker, as soon as it runs its own program."""

        def look() -> psutil.Process | None:
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error):  # it has ended meanwhile
                    if "harness.worker.main" in child.cmdline():
                        return child
            return None

        return wait_for(look, self.process)

    def computing(self, process: psutil.Process, seconds: float) -> None:
        """Wait until a process has computed for `seconds` more: a moment that no clock decides."""
        start = cpu_seconds(process)
        self.until(lambda: cpu_seconds(process) - start >= seconds)

    def rows(self, name: str = "iteration") -> int:
        """The number of rows that a reader sees now, of a run in progress."""
        if not self.recording.exists():
            return 0
        with Recording(self.out) as recording:
            return len(recording.iterations if name == "iteration" else recording.window_iterations)

    def end(self) -> int:
        """Wait for the end of the run and return its exit code."""
        return self.process.wait(PATIENCE)

    def kill(self, worker: psutil.Process) -> None:
        """Kill the supervisor, and wait until its worker has ended by itself."""
        self.process.kill()
        self.process.wait(PATIENCE)
        worker.wait(PATIENCE)


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def running(solver: Path, out: Path, *options: object, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Start run.py with `solver`; kill it and its worker at the end of the block."""
    arguments = [sys.executable, RUN, "--solver", solver, "--out", out, *options]
    printed = out.with_name(out.name + ".stderr")
    with (
        printed.open("w") as stderr,
        started(*arguments, stdout=subprocess.DEVNULL, stderr=stderr, env=env) as process,
    ):
        yield Running(process, out, printed)


# -- what a recording must be -----------------------------------------------------------------------------------------


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """Read everything that grows in the recording `path`, by its HDF5 path, with plain h5py.

    Check that rows are complete: the datasets of a group are equally long, and their iterations increase.
    """
    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.maxshape and item.maxshape[0] is None and name != "alarm":
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    groups: dict[str, set[int]] = {}
    for name, values in found.items():
        first = name.split("/")[0]
        own = {"activation": first, "window": first, "test": "/".join(name.split("/")[:2])}
        group = own.get(first, "/")
        groups.setdefault(group, set()).add(len(values))
        if name.endswith("iteration"):
            assert np.all(np.diff(values) > 0), name
    assert all(len(lengths) == 1 for lengths in groups.values()), groups
    return found


def check_prefix(path: Path, whole: dict[str, np.ndarray]) -> int:
    """Check that the recording `path` begins as the undisturbed one does, and return its number of iterations."""
    part = arrays_of(path)
    assert set(part) == set(whole)
    np.testing.assert_array_equal(part["iteration"], np.arange(len(part["iteration"])))
    for name, values in part.items():
        if name not in ("seconds", "checksum"):  # of which a column covers the seconds
            common = min(len(values), len(whole[name]))
            np.testing.assert_array_equal(values[:common], whole[name][:common], err_msg=name)
    done = len(part["iteration"])
    kept = np.clip(done - WINDOW[0], 0, WINDOW[1] - WINDOW[0])
    np.testing.assert_array_equal(part["window/iteration"], np.arange(WINDOW[0], WINDOW[0] + kept))
    return done


pytestmark = pytest.mark.usefixtures("one_blas_thread")


@pytest.fixture(scope="module")
def long_solver(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    """A solver that trains until it is stopped; its first ITERATIONS are known."""
    home = tmp_path_factory.mktemp("long")
    (home / "net.prototxt").write_text(small_net(digit_data, batch=16))
    fields = {"max_iter": ENOUGH, "display": 10, "test_interval": 100, "snapshot": 400}
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "native", **fields))
    return home / "solver.prototxt"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, long_solver: Path) -> dict[str, np.ndarray]:
    """The first ITERATIONS of the undisturbed run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(long_solver, out, *WATCH, "--until", ITERATIONS)
    arrays = arrays_of(out / "recording.h5")
    assert len(arrays["iteration"]) == ITERATIONS
    assert len(arrays["window/iteration"]) == WINDOW[1] - WINDOW[0]
    shutil.rmtree(out)
    return arrays


MOMENTS = [("building", 1), ("building", 2), ("window", 1), ("window", 2), ("training", 1)]


def await_moment(run: Running, when: str, seed: int) -> psutil.Process:
    """Wait for a random moment while the net is built, while a window is written, or at any time of the training."""
    worker = run.worker()
    chance = random.Random(f"{when} {seed}")
    if when == "building":
        run.computing(worker, chance.uniform(0, 0.5))
    else:
        run.until(run.recording.exists if when == "training" else lambda: run.rows("window") > 0)
        run.computing(worker, chance.uniform(0, 0.5))
    return worker


# -- the worker dies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("when", "seed"), MOMENTS)
def test_nothing_recorded_is_lost_when_the_worker_is_killed(
    tmp_path: Path, long_solver: Path, whole: dict[str, np.ndarray], when: str, seed: int
) -> None:
    with running(long_solver, tmp_path / "run", *WATCH) as run:
        await_moment(run, when, seed).kill()
        assert run.end() == 4
    assert "SIGKILL" in run.stderr
    assert "Traceback" not in run.stderr
    assert run.ended["code"] == 4
    assert "SIGKILL" in str(run.ended["how"])
    assert not list(run.out.glob(".*"))
    if when != "building" or run.recording.exists():
        done = check_prefix(run.recording, whole)
        assert done < ENOUGH
        assert when != "window" or done > WINDOW[0]
        assert (f"every iteration up to {done - 1}" in run.stderr) == (done > 0)
        assert (f"every iteration up to {done - 1}" in str(run.ended["how"])) == (done > 0)


def hdf5_net(tmp_path: Path) -> Path:
    """Write a net on three HDF5 files of 40 images each; the labels of the last one cannot be read."""
    images, classes = digits(40, 3)
    names = []
    for number in range(3):
        path = tmp_path / f"part{number}.h5"
        with h5py.File(path, "w") as file:
            file["data"] = images.astype(np.float32) / 128
            labels = file.create_dataset("label", data=classes.astype(np.float32), chunks=(40,), fletcher32=True)
            place = labels.id.get_chunk_info(0).byte_offset
        names.append(f"{path}\n")
    with path.open("r+b") as file:  # not what its checksum says
        file.seek(place)
        file.write(b"\xff")
    (tmp_path / "list.txt").write_text("".join(names))
    net = tmp_path / "net.prototxt"
    net.write_text(f"""name: "hdf5"
layer {{ name: "data" type: "HDF5Data" top: "data" top: "label"
  hdf5_data_param {{ source: "{tmp_path / "list.txt"}" batch_size: 8 }} }}
{HEAD}""")
    return net


HEAD = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
NO_TEST: dict[str, object] = {"test_iter": None, "test_interval": None}


def test_the_message_of_a_failed_check_of_caffe_is_shown(tmp_path: Path) -> None:
    net = hdf5_net(tmp_path)
    (tmp_path / "solver.prototxt").write_text(solver_text(net, tmp_path / "native", **NO_TEST))
    done = train(tmp_path / "solver.prototxt", tmp_path / "run", "--watch", "0:60", code=4)
    fatal = [line for line in done.stderr.splitlines() if "Failed to read float dataset label" in line]
    assert fatal, done.stderr
    assert "SIGABRT" in done.stderr
    log = (tmp_path / "run/solver.log").read_text()
    assert "Failed to read float dataset label" in log
    assert "Iteration 7," in log
    ended = json.loads((tmp_path / "run/run.json").read_text())["ended"]
    assert ended["code"] == 4
    assert any("Check failed" in line for line in ended["last_words"])
    rows = arrays_of(tmp_path / "run/recording.h5")
    # files of 40 give 5 batches each; Caffe goes to the next file as the batch after the last one is made
    np.testing.assert_array_equal(rows["iteration"], np.arange(len(rows["iteration"])))
    np.testing.assert_array_equal(rows["window/iteration"], rows["iteration"])
    assert 9 <= len(rows["iteration"]) <= 10


PYTHON_LAYER = '''
import caffe, ctypes, os, subprocess, sys, time

class OwnError(Exception):
    pass

class Failing(caffe.Layer):
    """Copies its input, and fails in its 13th forward pass."""

    def setup(self, bottom, top):
        self.passes = 0

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data
        if self.passes == 12:
            getattr(self, self.param_str)()
        self.passes += 1

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff

    def raises(self):
        raise ValueError("an error at pass 12")

    def raises_its_own(self):
        raise OwnError("its own error at pass 12")

    def segfaults(self):
        ctypes.string_at(0)

    def leaves(self):
        os._exit(7)

    def leaves_a_child(self):
        child = subprocess.Popen(["sleep", "600"])
        print("child", child.pid, flush=True)
        os._exit(7)

    def hangs(self):
        while True:
            time.sleep(1)
'''


def failing(tmp_path: Path, data: Path, what: str) -> tuple[Path, dict[str, str]]:
    """Write a net with a Python layer that does `what` in iteration 12; return its solver and the environment."""
    (tmp_path / "failing.py").write_text(PYTHON_LAYER)
    (tmp_path / "net.prototxt").write_text(f"""
{data_layer(data / "train", "TRAIN", 8, "")}
layer {{ name: "failing" type: "Python" bottom: "data" top: "failing"
  python_param {{ module: "failing" layer: "Failing" param_str: "{what}" }} }}
{HEAD.replace('"data"', '"failing"')}""")
    fields = NO_TEST | {"snapshot": 0}
    (tmp_path / "solver.prototxt").write_text(solver_text(tmp_path / "net.prototxt", tmp_path / "native", **fields))
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    return tmp_path / "solver.prototxt", {"PYTHONPATH": path}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("raises", "ValueError: an error at pass 12"),
        ("raises_its_own", "failing.OwnError: its own error at pass 12"),
        ("segfaults", "SIGSEGV"),
        ("leaves", "exit code 7"),
    ],
)
def test_a_python_layer_that_fails_is_named(tmp_path: Path, digit_data: Path, what: str, said: str) -> None:
    solver, env = failing(tmp_path, digit_data, what)
    done = train(solver, tmp_path / "run", "--watch", "10:20", env=env, code=4)
    assert said in done.stderr
    assert "up to 11" in done.stderr
    rows = arrays_of(tmp_path / "run/recording.h5")
    np.testing.assert_array_equal(rows["iteration"], np.arange(12))
    np.testing.assert_array_equal(rows["window/iteration"], [10, 11])


def test_a_process_left_behind_by_the_worker_does_not_delay_the_end(tmp_path: Path, digit_data: Path) -> None:
    solver, env = failing(tmp_path, digit_data, "leaves_a_child")
    with running(solver, tmp_path / "run", "--watch", "10:20", env=env) as run:
        assert run.end() == 4
        child = (run.out / "solver.log").read_text().split("child ")[1].split()[0]
        os.kill(int(child), signal.SIGKILL)
    assert len(arrays_of(run.recording)["iteration"]) == 12


# -- the supervisor dies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("when", "seed"), MOMENTS)
def test_the_worker_completes_the_recording_when_the_supervisor_is_killed(
    tmp_path: Path, long_solver: Path, whole: dict[str, np.ndarray], when: str, seed: int
) -> None:
    with running(long_solver, tmp_path / "run", *WATCH) as run:
        worker = await_moment(run, when, seed)
        seen = run.rows()
        run.kill(worker)
    assert "Traceback" not in (run.out / "solver.log").read_text()
    assert not list(run.out.glob(".*"))
    if when == "building" and not run.recording.exists():
        assert "the supervisor died" in str(run.ended["how"])
        return
    done = check_prefix(run.recording, whole)  # it opens at once
    assert seen <= done < ENOUGH
    assert run.ended["how"] == "the supervisor died"
    if when != "building":
        assert run.ended["iteration"] == done
        check_snapshot(run, done, whole)
    with Recording(run.out) as recording:
        assert not recording.live
        assert len(recording.iterations) == done


def check_snapshot(run: Running, iteration: int, whole: dict[str, np.ndarray]) -> None:
    """Check that a complete snapshot of the end exists, with the weights that the next iteration would have used."""
    about = json.loads((run.out / f"snapshots/native_iter_{iteration}.json").read_text())
    assert about["iteration"] == iteration
    assert about["weight_digest"] == run.ended["weight_digest"]
    if iteration < ITERATIONS:
        assert about["weight_digest"] == f"{whole['digest'][iteration]:016x}"
    assert (run.out / "snapshots" / about["caffemodel"]).stat().st_size > 0
    assert (run.out / "snapshots" / about["solverstate"]).stat().st_size > 0
    assert not list((run.out / "snapshots/.writing").glob("*"))


@pytest.mark.parametrize(("when", "seed"), [("window", 3), ("training", 2)])
def test_the_next_reader_repairs_a_recording_of_two_killed_processes(
    tmp_path: Path, long_solver: Path, whole: dict[str, np.ndarray], when: str, seed: int
) -> None:
    with running(long_solver, tmp_path / "run", *WATCH) as run:
        worker = await_moment(run, when, seed)
        seen = run.rows()
        for pid in (run.process.pid, worker.pid):
            os.kill(pid, signal.SIGKILL)
        run.process.wait(PATIENCE)
        worker.wait(PATIENCE)
    # several readers at once, as a notebook and a report may be
    code = "import sys; from harness.recording import Recording; print(len(Recording(sys.argv[1]).iterations))"
    with ExitStack() as stack:
        readers = [
            stack.enter_context(started(sys.executable, "-c", code, run.out, stdout=subprocess.PIPE)) for _ in range(4)
        ]
        counts = {reader.communicate(timeout=PATIENCE)[0] for reader in readers}
    done = check_prefix(run.recording, whole)
    assert counts == {f"{done}\n"}
    assert done >= seen
    assert run.info["ended"] is None


def test_nothing_is_lost_when_the_supervisor_is_killed_before_it_read_the_end(
    tmp_path: Path, long_solver: Path, whole: dict[str, np.ndarray]
) -> None:
    with running(long_solver, tmp_path / "run", *WATCH, "--until", ITERATIONS) as run:
        worker = run.worker()
        run.until((run.out / "snapshots/native_iter_400.json").exists)
        run.process.send_signal(signal.SIGSTOP)  # from here on everything stays in the ring
        run.until((run.out / f"snapshots/.writing/native_iter_{ITERATIONS}.solverstate").exists)
        run.kill(worker)
    assert check_prefix(run.recording, whole) == ITERATIONS
    assert run.ended["iteration"] == ITERATIONS


# -- Ctrl-C -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_finishes_the_iteration_and_takes_a_snapshot(
    tmp_path: Path, long_solver: Path, whole: dict[str, np.ndarray], number: signal.Signals
) -> None:
    with running(long_solver, tmp_path / "run", *WATCH) as run:
        run.until(lambda: run.rows("window") > 0)
        run.process.send_signal(number)
        assert run.end() == 130
    assert "Interrupted" in run.stderr
    assert "Traceback" not in run.stderr
    done = check_prefix(run.recording, whole)
    assert run.ended["code"] == 130
    assert run.ended["iteration"] == done
    check_snapshot(run, done, whole)
    with h5py.File(run.recording) as file:
        assert file.attrs["closed"]


def test_a_run_under_nohup_ignores_sighup(tmp_path: Path, small: Path) -> None:
    out = tmp_path / "run"
    arguments = ["nohup", sys.executable, RUN, "--solver", small / "solver.prototxt", "--out", out]
    with started(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for((out / "recording.h5").exists, process)
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE) == 0


def test_a_second_interrupt_stops_an_iteration_that_hangs(tmp_path: Path, digit_data: Path) -> None:
    solver, env = failing(tmp_path, digit_data, "hangs")
    with running(solver, tmp_path / "run", "--watch", "10:20", env=env) as run:
        run.until(lambda: run.rows() == 12)
        run.process.send_signal(signal.SIGINT)
        run.until(lambda: "Interrupted" in run.stderr)
        run.process.send_signal(signal.SIGINT)
        assert run.end() == 130
    assert run.ended["code"] == 130
    rows = arrays_of(run.recording)
    np.testing.assert_array_equal(rows["iteration"], np.arange(12))
    np.testing.assert_array_equal(rows["window/iteration"], [10, 11])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_interrupt_while_the_net_is_built_ends_the_run(tmp_path: Path, long_solver: Path, seed: int) -> None:
    with running(long_solver, tmp_path / "run", *WATCH) as run:
        run.until(lambda: (run.out / "run.json").exists())  # the worker is started before the run is planned
        run.computing(run.worker(), random.Random(seed).uniform(0, 0.2))
        run.process.send_signal(signal.SIGINT)
        assert run.end() == 130
    assert "Traceback" not in run.stderr
    assert run.ended["code"] == 130
    if run.recording.exists():
        arrays_of(run.recording)


def has_imported(run: Running, module: str) -> bool:
    """Check whether a supervisor with PYTHONPROFILEIMPORTTIME has imported `module`."""
    return re.search(rf"\| +{module}$", run.stderr, re.MULTILINE) is not None


def test_an_interrupt_during_the_start_prints_no_traceback(tmp_path: Path, long_solver: Path) -> None:
    chance = random.Random(5)
    for number in range(3):
        with running(long_solver, tmp_path / f"run{number}", *WATCH, env={"PYTHONPROFILEIMPORTTIME": "1"}) as run:
            # once the imports are nearly done: an interrupt inside a library's import may end in an error of its own
            run.until(partial(has_imported, run, "harness.training_command"))
            run.computing(psutil.Process(run.process.pid), chance.uniform(0, 0.1))
            run.process.send_signal(signal.SIGINT)
            assert run.end() == 130
        assert "Traceback" not in run.stderr


def test_a_worker_killed_after_an_interrupt_is_reported_as_dead(tmp_path: Path, digit_data: Path) -> None:
    solver, env = failing(tmp_path, digit_data, "hangs")
    with running(solver, tmp_path / "run", "--watch", "10:20", env=env) as run:
        worker = run.worker()
        run.until(lambda: run.rows() == 12)
        run.process.send_signal(signal.SIGINT)
        run.until(lambda: "Interrupted" in run.stderr)
        worker.kill()
        assert run.end() == 4
    assert "SIGKILL" in run.stderr


# -- the disk and the ring --------------------------------------------------------------------------------------------


def on_a_disk_of(mib: int, tmp_path: Path, script: str) -> Finished:
    """Run the shell `script` where $DISK is a disk of `mib` MiB of its own; $KEEP, a plain folder, outlives it."""
    keep = tmp_path / "keep"
    keep.mkdir()
    return run_on_disk(f"{mib}m", tmp_path / "disk", script, {"KEEP": str(keep), "RUN": f"{sys.executable} {RUN}"})


FILL = 'head -c $(( $(df --output=avail -B1 "$DISK" | tail -1) - $1 )) /dev/zero > "$DISK/filler"'


@pytest.mark.parametrize("left_mib", [0, 5, 9])
def test_a_disk_that_fills_up_ends_the_run_and_damages_nothing(
    tmp_path: Path, long_solver: Path, whole: dict[str, np.ndarray], left_mib: int
) -> None:
    """Another file takes all or almost all of the disk while the window is written."""
    script = f"""
fill() {{ {FILL}; }}
$RUN --solver {long_solver} {" ".join(WATCH)} --until {ITERATIONS} --out "$DISK/run" 2> "$KEEP/stderr" & run=$!
until grep -q 'Iteration 0,' "$DISK/run/solver.log"; do kill -0 $run || exit 98; done 2> /dev/null
fill {left_mib << 20}
wait $run; code=$?
rm "$DISK/filler"
cp -r "$DISK/run" "$KEEP/"
exit $code
"""
    done = on_a_disk_of(80, tmp_path, script)
    stderr = (tmp_path / "keep/stderr").read_text()
    assert done.code == 1, (done.stderr, stderr[-3000:])
    assert "Traceback" not in stderr
    assert "the disk is full" in stderr or "No space left on device" in stderr
    assert "free some space" in stderr
    done_iterations = check_prefix(tmp_path / "keep/run/recording.h5", whole)
    assert done_iterations < ITERATIONS
    if left_mib:
        ended = json.loads((tmp_path / "keep/run/run.json").read_text())["ended"]
        assert ended["code"] == 1
        assert "free some space" in ended["how"]


@pytest.mark.parametrize("mib", [6, 12, 24])
def test_a_disk_too_small_for_the_window_is_bad_input(tmp_path: Path, long_solver: Path, mib: int) -> None:
    script = f'$RUN --solver {long_solver} {" ".join(WATCH)} --out "$DISK/run"; code=$?; ls "$DISK"; exit $code'
    done = on_a_disk_of(mib, tmp_path, script)
    assert done.code == 2, done.stderr[-3000:]
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "the recording needs" in done.stderr
    assert "MiB" in done.stderr
    assert "--capture" in done.stderr


@pytest.mark.parametrize("mib", [1, 4, 12])
def test_a_disk_that_is_full_from_the_start_is_bad_input(tmp_path: Path, long_solver: Path, mib: int) -> None:
    script = f"""
fill() {{ {FILL}; }}
fill 0
$RUN --solver {long_solver} {" ".join(WATCH)} --out "$DISK/run"; code=$?; ls "$DISK"; exit $code"""
    done = on_a_disk_of(mib, tmp_path, script)
    assert done.code == 2, done.stderr[-3000:]
    assert done.stdout == "filler\n"
    assert "Traceback" not in done.stderr
    assert "the disk is full" in done.stderr


def test_a_full_ring_makes_the_worker_wait_and_drops_nothing(
    tmp_path: Path, long_solver: Path, whole: dict[str, np.ndarray]
) -> None:
    train(long_solver, tmp_path / "run", *WATCH, "--ring-mib", 1, "--until", 300)
    assert check_prefix(tmp_path / "run/recording.h5", whole) == 300


def test_a_ring_too_small_for_one_row_is_bad_input(tmp_path: Path) -> None:
    random_ = np.random.default_rng(0)
    write_lmdb(tmp_path / "wide", random_.integers(0, 255, (4, 1, 400, 500)).astype(np.uint8), np.arange(4))
    (tmp_path / "net.prototxt").write_text(data_layer(tmp_path / "wide", "TRAIN", 2, "") + HEAD)
    (tmp_path / "solver.prototxt").write_text(solver_text(tmp_path / "net.prototxt", tmp_path / "native", **NO_TEST))
    options = ["--watch", "0:3", "--until", 3, "--ring-mib"]
    done = train(tmp_path / "solver.prototxt", tmp_path / "run", *options, 1, code=2)
    assert "--ring-mib" in done.stderr
    assert not (tmp_path / "run").exists()
    train(tmp_path / "solver.prototxt", tmp_path / "run", *options, 2)
    assert len(arrays_of(tmp_path / "run/recording.h5")["window/input/data"]) == 3


# -- two runs, and readers --------------------------------------------------------------------------------------------


def test_of_two_runs_in_one_directory_one_is_refused(tmp_path: Path, small: Path) -> None:
    for number in range(2):
        out = tmp_path / f"run{number}"
        arguments = [sys.executable, RUN, "--solver", small / "solver.prototxt", "--out", out]
        start = partial(started, *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        with start() as one, start() as other:
            printed = [process.communicate(timeout=PATIENCE)[1] for process in (one, other)]
        codes = [one.returncode, other.returncode]
        assert sorted(codes) == [0, 2], printed
        refused = printed[codes.index(2)]
        assert "Traceback" not in refused
        assert "--out" in refused
        assert len(arrays_of(out / "recording.h5")["iteration"]) == 60


def test_readers_see_a_run_in_progress_grow_and_do_not_disturb_it(
    tmp_path: Path, long_solver: Path, whole: dict[str, np.ndarray]
) -> None:
    with running(long_solver, tmp_path / "run", *WATCH, "--until", 3 * ITERATIONS) as run:
        run.until(run.recording.exists)
        seen = []
        with Recording(run.out) as following:
            assert following.live
            while run.process.poll() is None:
                following.refresh()
                times = following.iterations
                np.testing.assert_array_equal(times, np.arange(len(times)))
                known = min(len(times), ITERATIONS)
                np.testing.assert_array_equal(following.series("digest")[:known], whole["digest"][:known])
                for iteration in following.window_iterations[-1:]:
                    array = following.gradient(int(iteration), "conv2/a", 0)
                    row = int(iteration) - WINDOW[0]
                    np.testing.assert_array_equal(array, whole["window/gradient/conv2/a/0"][row])
                seen.append(len(times))
                with Recording(run.out) as fresh:  # opened again and again, also while it is being closed
                    assert len(fresh.iterations) >= len(times)
        assert run.end() == 0
    assert check_prefix(run.recording, whole) == 3 * ITERATIONS
    assert any(0 < count < 3 * ITERATIONS for count in seen)
    assert seen == sorted(seen)


# -- the run directory ------------------------------------------------------------------------------------------------


def test_a_run_directory_that_is_moved_is_filled_where_it_is(
    tmp_path: Path, long_solver: Path, whole: dict[str, np.ndarray]
) -> None:
    """Another directory takes its name, as that of the next run may."""
    with running(long_solver, tmp_path / "run", *WATCH, "--until", ITERATIONS) as run:
        run.until(lambda: run.rows("window") > 0)
        run.out.rename(tmp_path / "moved")
        run.out.mkdir()
        assert run.end() == 0
    assert list(run.out.iterdir()) == []
    moved = Running(run.process, tmp_path / "moved", run.printed)
    assert check_prefix(moved.recording, whole) == ITERATIONS
    assert moved.ended["code"] == 0
    assert f"{tmp_path}/moved/recording.h5 holds every iteration up to {ITERATIONS - 1}" in run.stderr
    check_snapshot(moved, ITERATIONS, whole)
    state = moved.out / f"snapshots/native_iter_{ITERATIONS}.solverstate"
    assert str(state.with_suffix(".caffemodel")).encode() in state.read_bytes()
    log = (moved.out / "solver.log").read_text()
    assert f"Snapshotting to binary proto file {run.out}/snapshots/native_iter_400.caffemodel" in log
    assert "/proc/" not in log


@pytest.mark.parametrize("what", ["directory", "content", "recording"])
def test_a_run_whose_directory_is_deleted_ends_with_one_sentence(tmp_path: Path, long_solver: Path, what: str) -> None:
    with running(long_solver, tmp_path / "run", *WATCH) as run:
        run.until(lambda: run.rows("window") > 0)
        if what == "recording":
            run.recording.unlink()
        else:
            for path in list(run.out.iterdir()) if what == "content" else [run.out]:
                while path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)  # the run writes there all the while
                path.unlink(missing_ok=True)
        assert run.end() == 1
    assert "Traceback" not in run.stderr
    assert "was deleted while the run went on" in run.stderr
    assert run.out.exists() == (what != "directory")
    assert not run.recording.exists()


# -- a full disk at a snapshot ----------------------------------------------------------------------------------------


def model_of(tmp_path: Path, mib: int) -> Path:
    """Write a net with `mib` MiB of weights that makes a snapshot every 20 iterations; return its solver."""
    images, labels = digits(40, 3)
    source = write_lmdb(tmp_path / "data", images, labels)
    wide = f"""
layer {{ name: "wide" type: "InnerProduct" bottom: "data" top: "wide"
  inner_product_param {{ num_output: {(mib << 18) // 144} weight_filler {{ type: "xavier" }} }} }}"""
    net = tmp_path / "net.prototxt"
    net.write_text(
        data_layer(source, "TRAIN", 2, "") + wide + HEAD.replace('bottom: "data" top: "ip"', 'bottom: "wide" top: "ip"')
    )
    fields = NO_TEST | {"snapshot": 20, "max_iter": 400, "display": 1}
    (tmp_path / "solver.prototxt").write_text(solver_text(net, tmp_path / "native", **fields))
    return tmp_path / "solver.prototxt"


def test_a_disk_too_full_for_a_snapshot_ends_the_run_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    """The disk has room for two snapshots of 16 MiB, and for the recording."""
    solver = model_of(tmp_path, 8)
    done = on_a_disk_of(
        56, tmp_path, f'$RUN --solver {solver} --out "$DISK/run"; code=$?; cp -r "$DISK/run" "$KEEP/"; exit $code'
    )
    assert done.code == 1, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert "a snapshot needs 16." in done.stderr
    assert "/disk/run: the disk is full" in done.stderr
    run = tmp_path / "keep/run"
    names = {path.name for path in (run / "snapshots").iterdir()}
    assert names == {".writing", *(f"native_iter_{t}.{kind}" for t in (20, 40) for kind in KINDS)}
    assert not list((run / "snapshots/.writing").iterdir())
    np.testing.assert_array_equal(arrays_of(run / "recording.h5")["iteration"], np.arange(59))
    ended = json.loads((run / "run.json").read_text())["ended"]
    assert ended["code"] == 1
    assert "a snapshot needs 16." in ended["how"]
    with h5py.File(run / "recording.h5") as file:
        assert file.attrs["closed"]


KINDS = ("caffemodel", "solverstate", "json")


@pytest.mark.parametrize("kind", ["caffemodel", "solverstate"])
def test_a_snapshot_that_fails_in_the_middle_leaves_nothing(
    tmp_path: Path, long_solver: Path, whole: dict[str, np.ndarray], kind: str
) -> None:
    """As where a disk fills up after its free space was checked: Caffe aborts."""
    with running(long_solver, tmp_path / "run", *WATCH) as run:
        run.until((run.out / "snapshots/.writing").is_dir)
        (run.out / f"snapshots/.writing/native_iter_400.{kind}").symlink_to("/dev/full")
        assert run.end() == 1
    assert "Traceback" not in run.stderr
    assert "Caffe could not write a snapshot of 0.2 MiB" in run.stderr
    assert [path.name for path in (run.out / "snapshots").rglob("*")] == [".writing"]
    assert check_prefix(run.recording, whole) == 399  # Caffe writes a snapshot within the step
    assert run.ended["code"] == 1
    assert any("Check failed" in line for line in run.ended["last_words"])  # whatever else Caffe aborted for is shown
