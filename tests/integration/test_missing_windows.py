"""Whatever lacks a window says how to record it now, at which cost, or what keeps it from being possible."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest

from harness.errors import RecordingError
from harness.invocation import next_command
from harness.recording import Recording
from harness.recording.run_directory import read_info
from harness.replay import nearest
from harness.schemas.rewind import NoRewind, Rewind
from harness.schemas.window import Window
from tests.helpers.commands import RUN, restart, train
from tests.helpers.nets import small_net, solver_text
from tests.helpers.processes import PATIENCE, started

pytestmark = pytest.mark.usefixtures("one_blas_thread")

LAYER = "conv1/3x3"
BATCH = 8 * 1 * 10 * 10  # values of the images of an iteration
SECONDS = 3.0  # of an iteration, written into copies of the recording


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    """A run of 40 iterations with snapshots at 10, 20, …, the window 22:28 without inputs, and data of its own."""
    home = tmp_path_factory.mktemp("missing")
    shutil.copytree(digit_data, home / "data")
    (home / "net.prototxt").write_text(small_net(home / "data"))
    text = solver_text(home / "net.prototxt", home / "native", max_iter=40, snapshot=10, test_interval=40)
    (home / "solver.prototxt").write_text(text)
    captured = "weight,gradient,update"
    train(home / "solver.prototxt", home / "run", "--watch", "22:28", "--capture", captured, "--black-box-mib", 0)
    restart(home / "run", "--from", 20, "--set", "base_lr=0.02", "--out", home / "faster")
    return home


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    shutil.copytree(home / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def recording(home: Path) -> Iterator[Recording]:
    with Recording(home / "run") as recording:
        yield recording


def missing(run: Path, iteration: int) -> str:
    """What is said of an iteration that no window holds."""
    with Recording(run) as recording, pytest.raises(RecordingError, match="is in no window; it has 22:28") as error:
        recording.weight(iteration, LAYER)
    return str(error.value)


def test_an_iteration_in_no_window(recording: Recording) -> None:
    run = recording.path.parent
    weights = sum(param.count for param in recording.params)
    with pytest.raises(RecordingError) as error:
        recording.gradient(17, LAYER)
    rewind = recording.rewind_cost(Window(17, 18))
    assert isinstance(rewind, Rewind)
    command = f"{next_command('rewind')} {run} --watch 17:18"
    assert str(error.value).endswith(f"To record it now, repeat 8 iterations from 10 on ({rewind.cost}): {command}")
    assert rewind.size == 4 * (3 * weights + BATCH + 8)
    assert re.fullmatch(r"about \d+ s and [\d.]+ KiB", rewind.cost)
    starts = {}
    for first in (0, 9, 10, 22, 24, 29):
        found = recording.rewind_cost(Window(first, 30))
        assert isinstance(found, Rewind)
        starts[first] = found.repeated.start
    assert starts == {0: 0, 9: 0, 10: 10, 22: 20, 24: 24, 29: 27}  # those inside the window can be restarted


def test_it_begins_where_the_replay_does(home: Path) -> None:
    for run in (home / "run", home / "faster"):
        info = read_info(run)
        with Recording(run) as recording:
            for first in range(info.first, 40):
                found = recording.rewind_cost(Window(first, 40))
                assert isinstance(found, Rewind)
                assert found.repeated.start == nearest(run, info, first).iteration


def test_arrays_that_were_left_out(recording: Recording) -> None:
    for read in (lambda: recording.input(23, "data"), lambda: recording.keys(23)):
        with pytest.raises(RecordingError, match="input was left out of --capture") as error:
            read()
        assert str(error.value).endswith("--watch 23:24 --capture input")
    assert recording.rewind_cost(Window(23, 25), ("input",)).size == 2 * 4 * (BATCH + 8)  # type: ignore[union-attr]


def test_the_time_is_that_of_the_iterations_that_are_repeated(run: Path) -> None:
    with Recording(run) as recording:
        before = recording.rewind_cost(Window(12, 32))
    with h5py.File(run / "recording.h5", "r+") as file:
        file["seconds"][10:31] = SECONDS
        file["seconds"][31:] = 1000.0
        del file["seconds"].attrs["checksum_column"]
    with Recording(run) as recording:
        after = recording.rewind_cost(Window(12, 32))
    assert isinstance(before, Rewind)
    assert isinstance(after, Rewind)
    assert after.repeated == Window(10, 32)
    assert 22 * SECONDS < after.seconds - before.seconds < 22 * SECONDS * 1.3


def test_what_keeps_a_rewind_from_being_possible(run: Path, home: Path) -> None:
    assert missing(run, 40).endswith("It cannot be recorded now: the last iteration of this run is 39")
    with Recording(home / "faster") as recording:
        before = recording.rewind_cost(Window(19, 20))
        assert isinstance(before, NoRewind)
        assert before.reason == f"this run begins at iteration 20; rewind the run before it, {home / 'run'}"
        assert isinstance(recording.rewind_cost(Window(20, 21)), Rewind)
    (home / "data").rename(home / "elsewhere")
    try:
        assert f"the data of layer data, {home / 'data/train'}, are gone" in missing(run, 5)
    finally:
        (home / "elsewhere").rename(home / "data")
    info = (run / "run.json").read_text()
    (run / "run.json").write_text(info.replace('"directory"', '"directories"'))
    assert "run.json" in missing(run, 5)
    (run / "run.json").write_text(info.replace('type: \\"Data', 'type: \\"MemoryData', 1))
    assert "layer data (MemoryData) cannot be positioned at iteration 10" in missing(run, 15)
    assert "--watch 5:6" in missing(run, 5)


def test_a_run_whose_beginning_is_gone(home: Path, tmp_path: Path) -> None:
    """A restart without snapshots of its own needs that of the run that it continues."""
    for name in ("run", "faster"):
        shutil.copytree(home / name, tmp_path / name)
    shutil.rmtree(tmp_path / "faster/snapshots")
    info = (tmp_path / "faster/run.json").read_text()
    (tmp_path / "faster/run.json").write_text(info.replace(str(home / "run"), str(tmp_path / "run")))
    with Recording(tmp_path / "faster") as recording:
        found = recording.rewind_cost(Window(25, 26))
        assert isinstance(found, Rewind)
        assert found.repeated == Window(20, 26)
    for file in (tmp_path / "run/snapshots").glob("*_20.*"):
        file.unlink()
    with Recording(tmp_path / "faster") as recording:
        gone = recording.rewind_cost(Window(25, 26))
        assert isinstance(gone, NoRewind)
        assert gone.reason == (
            "there is no snapshot of this run from iteration 25 or before, and none of the run that it continues, "
            f"{tmp_path / 'run'}, of iteration 20"
        )


def test_a_long_run_hears_once_of_an_interval_that_keeps_rewinds_cheap(home: Path, tmp_path: Path) -> None:
    solver = tmp_path / "solver.prototxt"
    text = solver_text(home / "net.prototxt", tmp_path / "native", max_iter=5_000_000, snapshot=None, test_interval=40)
    solver.write_text(text)
    with started(sys.executable, RUN, "--solver", solver, "--out", tmp_path / "run", stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("This run takes no snapshots: to record afterwards what was not watched (rewind)"):
                process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    (advice,) = (line for line in said if "(rewind)" in line)
    interval = re.search(r"With --snapshot-every (\d+) that is at most (\d) min", advice)
    assert interval is not None
    assert int(interval[1]) > 1000
    assert int(interval[2]) <= 5
