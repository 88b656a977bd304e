"""A rewound window is what watching would have recorded; the oracles are plain pycaffe, watched runs, and h5py."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import caffe
import h5py
import numpy as np
import psutil
import pytest

import harness
from harness.caffe_files.messages import pb
from harness.errors import BadInput
from harness.recording import Recording, RecordingError, Window
from harness.replay import rewinding
from harness.reports.replay_screen import DirectScreen
from harness.rewind import main
from harness.schemas.events import Event, Frames
from harness.supervisor.signals import Interrupts
from tests.helpers.commands import RUN, restart, train
from tests.helpers.nets import small_net, solver_text
from tests.helpers.paths import ROOT
from tests.helpers.processes import PATIENCE, Finished, command, started, wait_for

pytestmark = pytest.mark.usefixtures("one_blas_thread")

REWIND = ROOT / "harness/rewind.py"
END, WATCH = 40, range(18, 24)
PLAIN = ("--black-box-mib", 0)


Rewind = Callable[..., Finished]


@pytest.fixture
def rewind(capfd: pytest.CaptureFixture[str]) -> Rewind:
    """Run the command in this process; it must exit with `code`."""

    def call(run: Path, *options: str, code: int = 0) -> Finished:
        capfd.readouterr()
        found = main([str(run), *options])
        said = capfd.readouterr()
        assert found == code, said.err[-3000:]
        return Finished(found, said.out, said.err)

    return call


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    """A run with mirror, crop and dropout, a test net and snapshots at 15 and 30; and the same run, watched."""
    home = tmp_path_factory.mktemp("rewind")
    (home / "net.prototxt").write_text(small_net(digit_data))
    text = solver_text(home / "net.prototxt", home / "native", max_iter=END, snapshot=15, iter_size=2)
    (home / "solver.prototxt").write_text(text)
    train(home / "solver.prototxt", home / "run", *PLAIN)
    train(home / "solver.prototxt", home / "watched", *PLAIN, "--watch", "18:24")
    return home


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Path:
    """A copy of the run, whose files other tests have not changed."""
    return Path(shutil.copytree(home / "run", tmp_path / "run"))


def contents(run: Path) -> dict[Path, tuple[bytes, int]]:
    """The bytes and times of the files of a run, without its windows."""
    files = [path for path in run.rglob("*") if path.is_file() and "windows" not in path.parts]
    return {path.relative_to(run): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def files_in(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "windows").iterdir()) if (run / "windows").is_dir() else []


def test_a_rewound_window_is_what_watching_would_have_recorded(
    home: Path, run: Path, rewind: Rewind, tmp_path: Path
) -> None:
    before = contents(run)
    done = rewind(run, "--watch", "18:24")
    assert done.stdout == f"{run}/windows/18-24.h5\n"
    assert "Verified: 9 iterations (15…23) had the digests that the run recorded" in done.stderr
    assert contents(run) == before
    assert files_in(run) == ["18-24.h5"]
    with h5py.File(run / "windows/18-24.h5") as kept, h5py.File(home / "watched/recording.h5") as watched:
        names: list[str] = []
        watched["window"].visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert {name.split("/")[0] for name in names} > {"weight", "gradient", "update", "input", "key"}
        for name in set(names) - {"checksum"}:
            assert kept["window"][name][()].tobytes() == watched["window"][name][()].tobytes(), name
    with Recording(run) as recording, Recording(home / "watched") as other:
        assert recording.windows == (Window(18, 24),)
        assert recording.keys(20) == other.keys(20)
        for name in ("mean_abs", "zero_fraction"):
            mine, theirs = recording.activation(name), other.activation(name)
            assert np.array_equal(mine.iterations, theirs.iterations)
            assert np.array_equal(mine.values, theirs.values)
    restart(run, "--from", 20, "--until", 26, "--out", tmp_path / "again")
    verified = json.loads((tmp_path / "again/run.json").read_text())["verified"]
    assert (verified["compared"], verified["equal"], verified["final"]) == (6, 6, True)


def test_its_weights_are_those_of_plain_pycaffe(home: Path, run: Path, rewind: Rewind) -> None:
    rewind(run, "--watch", "0:2", "--watch", "31:34", "--capture", "weight,update")
    solver = caffe.get_solver(str(home / "solver.prototxt"))
    with Recording(run) as recording:
        assert recording.windows == (Window(0, 2), Window(31, 34))
        for t in range(34):
            if t in (0, 1, 31, 32, 33):
                for p in recording.params:
                    weight = solver.net.params[p.layer][p.index].data
                    assert np.array_equal(recording.weight(t, p.layer, p.index), weight), (t, p)
            solver.step(1)
            if t in (0, 1, 31, 32, 33):
                assert np.array_equal(
                    recording.update(t, "loss1/classifier"), solver.net.params["loss1/classifier"][0].diff
                )


def test_what_is_stored_is_not_stored_again_and_what_lacks_is(run: Path, rewind: Rewind) -> None:
    rewind(run, "--watch", "18:20", "--capture", "weight,update")
    again = rewind(run, "--watch", "18:20", "--capture", "weight")
    assert again.stdout == ""
    assert "stored already" in again.stderr
    rewind(run, "--watch", "18:22", "--capture", "weight,input")
    assert files_in(run) == ["18-20.2.h5", "18-20.h5", "20-22.h5"]
    with h5py.File(run / "windows/18-20.2.h5") as second:
        assert set(second["window"]) == {"input", "key", "iteration", "digest", "checksum"}
    with Recording(run) as recording:
        assert recording.windows == (Window(18, 22),)
        assert recording.window_arrays(18) == ("weight", "update", "input", "key")
        assert recording.window_arrays(21) == ("weight", "input", "key")
    assert "from iteration 19 in a window" in rewind(run, "--watch", "19:20", "--capture", "gradient").stderr


def test_a_run_that_goes_on_with_changes_is_rewound_from_its_own_start(home: Path, tmp_path: Path) -> None:
    """It starts in a window, with another rate and rescaled momentum, skips data, and was moved with its parent."""
    shutil.copytree(home / "watched", tmp_path / "first/run")
    change = ("--set", "base_lr=0.02", "--history", "rescale", "--skip", "22:24", "--until", "30")
    for name, watch in (("later", ()), ("seen", ("--watch", "20:30"))):
        restart(tmp_path / "first/run", "--from", "20", *change, *watch, *PLAIN, "--out", tmp_path / "first" / name)
    moved = (tmp_path / "first").rename(tmp_path / "other place")
    with harness.open_run(moved / "later") as later, harness.open_run(moved / "seen") as seen:
        assert later.rewind("20:23", "28:30") == (moved / "later/windows/20-23.h5", moved / "later/windows/28-30.h5")
        for t in (20, 21, 22, 28, 29):
            assert later.keys(t) == seen.keys(t)
            for p in later.params:
                assert np.array_equal(later.update(t, p.layer, p.index), seen.update(t, p.layer, p.index)), (t, p)
        with pytest.raises(BadInput, match="begins at 20 or later, or rewind"):
            later.rewind("19:21")


def damage(path: Path, part: bytes) -> None:
    """Change a bit in `part` of a file."""
    content = path.read_bytes()
    assert content.count(part) == 1
    path.write_bytes(content.replace(part, bytes([part[0] ^ 1]) + part[1:]))


def test_what_is_damaged_is_no_place_to_begin_from(run: Path, rewind: Rewind) -> None:
    rewind(run, "--watch", "18:20", "--capture", "weight,update")
    with Recording(run) as recording:
        update = recording.update(18, "loss3/classifier").tobytes()
    damage(run / "windows/18-20.h5", update)
    assert "from the snapshot of iteration 15" in rewind(run, "--watch", "20:21").stderr
    (model,) = (run / "snapshots").glob("*_15.caffemodel")
    damage(model, caffe_weights(model))
    shutil.rmtree(run / "windows")
    assert "from its start" in rewind(run, "--watch", "20:21").stderr


def test_a_caffemodel_that_has_changed_is_named(home: Path, run: Path, tmp_path: Path, rewind: Rewind) -> None:
    (model,) = (run / "snapshots").glob("*_15.caffemodel")
    train(home / "solver.prototxt", tmp_path / "tuned", *PLAIN, "--weights", model, "--until", 3)
    damage(model, caffe_weights(model))
    done = rewind(tmp_path / "tuned", "--watch", "1:2", code=3)
    assert f"It began with those in {model}: put the file back" in done.stderr


def caffe_weights(model: Path) -> bytes:
    net = pb.NetParameter.FromString(model.read_bytes())
    (layer,) = (layer for layer in net.layer if layer.name == "loss3/classifier")
    return np.array(layer.blobs[0].data, np.float32).tobytes()


def plant_difference(run: Path, iteration: int) -> None:
    """Change the digest that a run recorded at an iteration."""
    with h5py.File(run / "recording.h5", "r+") as file:
        file["digest"][iteration] ^= np.uint64(1)
        for name in ("lr", "loss", "smoothed_loss", "seconds", "digest"):
            del file[name].attrs["checksum_column"]


def test_the_replay_stops_at_the_first_digest_that_differs(run: Path, rewind: Rewind) -> None:
    plant_difference(run, 21)
    done = rewind(run, "--watch", "17:30", code=3)
    assert "Iteration 21: the weights of the replay differ from those that the run recorded" in done.stderr
    with Recording(run) as recording:
        assert recording.windows == (Window(17, 21),)
        assert recording.window_arrays(19) == ("weight", "gradient", "update", "input", "key")
        assert recording.window_arrays(20) == ("weight",)  # its update leads to other weights


def test_other_kernels_are_named(run: Path) -> None:
    core = "Nehalem"
    done = command(sys.executable, REWIND, run, "--watch", "18:24", env={"OPENBLAS_CORETYPE": core})
    assert done.code == 3
    assert "Known reasons: " in done.stderr
    assert core in done.stderr
    assert not (run / "windows").exists()


@pytest.mark.parametrize(
    ("watch", "words"),
    [
        ("38:41", ("recorded iterations 0 to 39", "B <= 40")),
        ("5:5", ("the window is empty",)),
        ("onset", ("did not diverge", "--watch A:B")),
    ],
)
def test_a_window_that_cannot_be_is_refused(run: Path, watch: str, words: tuple[str, ...], rewind: Rewind) -> None:
    done = rewind(run, "--watch", watch, code=2)
    assert all(word in done.stderr for word in words), done.stderr
    assert not (run / "windows").exists()


def temporary(run: Path) -> list[Path]:
    return list((run / "windows").glob(".rewind.*"))


def test_after_a_kill_two_rewinds_at_once_leave_one_window(home: Path, run: Path) -> None:
    arguments = (sys.executable, REWIND, run, "--watch", "2:24")
    with started(*arguments) as process:
        wait_for(lambda: [path for path in temporary(run) if (path / "recording.h5").exists()], process)
        process.kill()
        process.wait(PATIENCE)
    assert temporary(run)
    with started(*arguments, stderr=subprocess.PIPE) as one, started(*arguments, stderr=subprocess.PIPE) as two:
        said = [process.communicate(timeout=PATIENCE)[1] for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), said
    assert any("stored already" in text for text in said)
    assert files_in(run) == ["2-24.h5"]
    with Recording(run) as recording, Recording(home / "watched") as watched:
        assert recording.weight(23, "conv1/3x3").tobytes() == watched.weight(23, "conv1/3x3").tobytes()


SLEEPY = """
import time

import caffe


class Sleepy(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        time.sleep(0.02)
        top[0].data[...] = bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff
"""


def test_a_run_in_progress_is_rewound_and_what_was_verified_before_ctrl_c_is_stored(
    tmp_path: Path, digit_data: Path, monkeypatch: pytest.MonkeyPatch, rewind: Rewind
) -> None:
    (tmp_path / "sleepy_layers.py").write_text(SLEEPY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    layer = """layer { name: "sleepy" type: "Python" bottom: "data" top: "slow" propagate_down: false
  python_param { module: "sleepy_layers" layer: "Sleepy" } }
layer { name: "silence" type: "Silence" bottom: "slow" }"""
    (tmp_path / "net.prototxt").write_text(small_net(digit_data, extra=layer))
    fields: dict[str, object] = {"max_iter": 150, "test_iter": None, "test_interval": None, "snapshot": 0}
    (tmp_path / "solver.prototxt").write_text(solver_text(tmp_path / "net.prototxt", tmp_path / "n", **fields))
    run = tmp_path / "run"
    with started(sys.executable, RUN, "--solver", tmp_path / "solver.prototxt", "--out", run, *PLAIN) as training:
        wait_for(lambda: rows_in(run) > 20, training)
        rewind(run, "--watch", "3:6", "--capture", "update")
        assert training.poll() is None
        assert training.wait(PATIENCE) == 0
    with Recording(run) as recording:
        assert recording.window_iterations.tolist() == [3, 4, 5]
    with started(sys.executable, REWIND, run, "--watch", "6:150", stderr=subprocess.PIPE) as process:
        wait_for(lambda: [path for path in temporary(run) if rows_in(path) > 15], process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert temporary(run) == []
    with Recording(run) as recording:
        kept = recording.window_iterations
        assert 5 <= len(kept) < 147
        assert kept.tolist() == list(range(3, 3 + len(kept)))
    done = rewinding.rewind(run, [Window(100, 150)], ("weight",), Disturbing(kill_worker), Interrupts("continue"))
    assert done.code == 4
    assert done.sentence.startswith("The worker died (killed by SIGKILL). "), done.sentence


class Disturbing(DirectScreen):
    """Calls `act` whenever iterations were replayed or a window was stored."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self.act = act
        self.said: list[str] = []

    def event(self, event: Event) -> None:
        super().event(event)
        if isinstance(event, Frames):
            self.act()

    def message(self, text: str) -> None:
        self.said.append(text)
        if text.startswith("Stored"):
            self.act()


def kill_worker() -> None:
    for child in psutil.Process().children():
        if "harness.worker.main" in child.cmdline():
            child.kill()


def test_ctrl_c_twice_while_windows_are_stored_leaves_those_that_are_complete(run: Path) -> None:
    interrupts = Interrupts("continue")

    def interrupt() -> None:
        if (run / "windows/16-18.h5").exists():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    screen = Disturbing(interrupt)
    done = rewinding.rewind(run, [Window(16, 18), Window(20, 22)], ("weight",), screen, interrupts)
    assert (done.code, files_in(run)) == (130, ["16-18.h5"])
    assert done.sentence.startswith("Interrupted. Verified: 7 iterations")


def rows_in(run: Path) -> int:
    try:
        with Recording(run) as recording:
            return len(recording.iterations)
    except RecordingError:
        return 0
