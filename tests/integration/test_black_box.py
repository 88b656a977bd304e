"""The black box: a break that nobody had expected becomes a window, whichever process dies, and nothing else changes.

The oracles are the windows of watched runs, read with h5py, and digests.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from harness.diagnosis.recorded.damage_span import span
from harness.diagnosis.recorded.diagnose import diagnose
from harness.recording import Recording, RecordingError, Window
from tests.helpers.commands import RUN, restart, train
from tests.helpers.lmdbs import CLASSES
from tests.helpers.mounts import run_on_disk
from tests.helpers.nets import data_layer, solver_text
from tests.helpers.processes import PATIENCE, started, wait_for
from tests.integration.test_alarms import noisy_digits, write

pytestmark = pytest.mark.usefixtures("one_blas_thread")

BATCH, FAULT, END = 8, 20, 35
GOES_ON = ("--on-alarm", "continue")
ALL = ("--capture", "weight,gradient,update,history,input")


def net_text(source: Path, middle: str) -> str:
    return f"""name: "box"
{data_layer(source, "TRAIN", BATCH, "")}
{middle}
layer {{ name: "classifier" type: "InnerProduct" bottom: "below" top: "classifier"
  inner_product_param {{ num_output: {CLASSES} weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "classifier" bottom: "label" top: "loss" }}
"""


# in which copying the params takes a small share of an iteration, and a large one
SLOW = "".join(
    f"""layer {{ name: "conv{n}" type: "Convolution" bottom: "{below}" top: "{top}"
  convolution_param {{ num_output: 32 kernel_size: 5 pad: 12 weight_filler {{ type: "xavier" }} }} }}
"""
    for n, (below, top) in enumerate([("data", "one"), ("one", "two")])
)
SLOW += """layer { name: "pool" type: "Pooling" bottom: "two" top: "below"
  pooling_param { pool: AVE global_pooling: true } }
"""
FAST = """layer { name: "flat" type: "Flatten" bottom: "data" top: "below" }
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Solvers over data in which record 3 of the batch of iteration FAULT is NaN, and of one that is healthy."""
    home = tmp_path_factory.mktemp("box")
    images, labels = noisy_digits()
    sources = {
        "slow": write(home / "slow_lmdb", images, labels, {2 * BATCH * FAULT + 3: np.nan}),
        "fast": write(home / "fast_lmdb", images, labels, {BATCH * FAULT + 3: np.nan}),
        "healthy": write(home / "healthy_lmdb", images, labels),
    }
    usual: dict[str, object] = {"lr_policy": '"fixed"', "power": None, "max_iter": END, "base_lr": 0.001}
    usual |= {"test_iter": None, "test_interval": None, "snapshot": 0}
    for name, source in sources.items():
        (home / f"{name}.prototxt").write_text(net_text(source, SLOW if name == "slow" else FAST))
        fields = usual | ({"iter_size": 2} if name == "slow" else {})
        (home / f"{name}_solver.prototxt").write_text(solver_text(home / f"{name}.prototxt", home / name, **fields))
    train(home / "slow_solver.prototxt", home / "slow", *ALL, *GOES_ON)
    train(home / "slow_solver.prototxt", home / "watched", "--watch", "5:34", *ALL, "--black-box-mib", 0, *GOES_ON)
    train(home / "fast_solver.prototxt", home / "fast", code=None)
    return home


def window_of(run: Path) -> Path:
    """The only window in a file of its own of the run directory `run`."""
    (path,) = (run / "windows").iterdir()
    return path


def test_the_window_is_what_watching_would_have_recorded(home: Path) -> None:
    path = window_of(home / "slow")
    assert path.name == f"{FAULT - 10}-{FAULT + 11}.h5"
    with h5py.File(path) as kept, h5py.File(home / "watched/recording.h5") as watched:
        rows = watched["window/iteration"][()].searchsorted(kept["window/iteration"][()])
        names: list[str] = []
        watched["window"].visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert {name.split("/")[0] for name in names} > {"weight", "gradient", "update", "history", "input", "key"}
        for name in set(names) - {"checksum"}:
            assert kept["window"][name][()].tobytes() == watched["window"][name][rows].tobytes(), name
        at = watched["iteration"][()].searchsorted(kept["window/iteration"][()])
        assert np.array_equal(kept["window/digest"], watched["digest"][()][at])
    with Recording(home / "slow") as recording, Recording(home / "watched") as other:
        assert recording.windows == (Window(FAULT - 10, FAULT + 11),)
        assert recording.window_arrays(FAULT) == ("weight", "gradient", "update", "history", "input", "key")
        assert recording.keys(FAULT) == other.keys(FAULT)
        assert recording.input(FAULT, "data").shape == (2, BATCH, 1, 12, 12)
        after = recording.weight(FAULT - 1, "conv0") - recording.update(FAULT - 1, "conv0")
        assert np.array_equal(after, recording.weight(FAULT, "conv0"))
        assert np.array_equal(recording.series("digest"), other.series("digest"))


def test_a_restart_from_the_kept_window_is_exact(home: Path, tmp_path: Path) -> None:
    restart(home / "slow", "--from", FAULT - 5, "--until", FAULT, "--out", tmp_path / "again")
    verified = json.loads((tmp_path / "again/run.json").read_text())["verified"]
    assert (verified["compared"], verified["equal"], verified["final"]) == (5, 5, True)


def test_the_report_finds_the_bad_record_of_a_run_that_nobody_watched(home: Path) -> None:
    with Recording(home / "fast") as recording:
        found = diagnose(recording)
        batch = found.batch()
        assert found.onset is not None
        assert batch is not None
        assert (found.onset.iteration, batch.iteration) == (FAULT, FAULT)
        assert np.flatnonzero(batch.outliers).tolist() == [3]
        assert batch.keys[3] == f"{BATCH * FAULT + 3:08d}"
        assert span(recording, found) == Window(FAULT - 5, FAULT + 1)  # to the first loss that is not finite


def test_where_params_would_cost_too_much_inputs_are_kept(home: Path) -> None:
    with Recording(home / "fast") as recording:
        assert recording.windows == (Window(FAULT - 10, FAULT + 1),)  # the run stopped at the first NaN
        assert recording.window_arrays(FAULT) == ("input", "key")
        assert recording.window_arrays(FAULT - 11) == ()
        with pytest.raises(RecordingError, match=f"no weight was kept of iteration {FAULT}, only input and key"):
            recording.weight(FAULT, "classifier")


def test_a_healthy_run_and_one_without_a_black_box_leave_no_window(home: Path, tmp_path: Path) -> None:
    done = train(home / "healthy_solver.prototxt", tmp_path / "healthy")
    assert "kept" not in done.stderr
    train(home / "fast_solver.prototxt", tmp_path / "off", "--black-box-mib", 0, code=None)
    assert not (tmp_path / "healthy/windows").exists()
    assert not (tmp_path / "off/windows").exists()


def test_what_was_watched_is_not_kept_twice(home: Path, tmp_path: Path) -> None:
    train(home / "fast_solver.prototxt", tmp_path / "run", "--watch", f"0:{FAULT - 2}", *GOES_ON)
    kept: list[int] = []  # in two files if the params turned out to be too large in between
    for path in sorted((tmp_path / "run/windows").iterdir()):
        with h5py.File(path) as file:
            kept += file["window/iteration"][()].tolist()
    assert kept == list(range(FAULT - 2, FAULT + 11))
    with Recording(tmp_path / "run") as recording:
        assert recording.windows == (Window(0, FAULT + 11),)


def test_the_last_iterations_of_a_worker_that_was_killed_are_kept(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = (sys.executable, RUN, "--solver", home / "slow_solver.prototxt", "--out", out, "--until", FAULT - 1)
    with started(*arguments) as process:
        wait_for(lambda: recorded(out) >= 5, process)
        worker_of(process.pid).kill()
        assert process.wait(PATIENCE) == 4
    with Recording(out) as recording:
        last = int(recording.iterations[-1])
        assert recording.windows == (Window(max(0, last - 19), last + 1),)
        assert "input" in recording.window_arrays(last)
        assert not recording.damaged_windows


def test_the_worker_writes_the_window_of_a_supervisor_that_was_killed(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = (sys.executable, RUN, "--solver", home / "slow_solver.prototxt", "--out", out, *GOES_ON)
    with started(*arguments) as process:
        worker = None

        def opened() -> bool:
            return any((out / "windows").glob(".window.h5.*"))

        wait_for(lambda: recorded(out) > 0, process)
        worker = worker_of(process.pid)
        wait_for(opened, process, pause=0.001)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
        worker.wait(PATIENCE)
    with Recording(out) as recording:
        last = int(recording.iterations[-1])
        assert FAULT <= last < END
        assert recording.windows == (Window(FAULT - 10, min(last, FAULT + 10) + 1),)
        assert np.isnan(recording.input(FAULT, "data")).any()
    assert [path.name[0] for path in (out / "windows").iterdir()] != ["."]


def test_a_disk_without_room_costs_the_window_and_not_the_recording(home: Path, tmp_path: Path) -> None:
    command = f'"{sys.executable}" "{RUN}" --solver "{home}/slow_solver.prototxt" --out "$DISK/run" --on-alarm continue'
    script = f'{command}; code=$?; cp -r "$DISK/run" "{tmp_path}/run"; exit $code'
    done = run_on_disk("36m", tmp_path / "disk", script)
    assert done.code == 0, done.stderr
    assert f"Iterations {FAULT - 10} to {FAULT + 10} could not be kept as a window: " in done.stderr
    assert "is left to the recording and to snapshots" in done.stderr
    with Recording(tmp_path / "run") as recording:
        assert len(recording.iterations) == END
        assert recording.windows == ()
    assert not (tmp_path / "run/windows").exists()


# -- files that are damaged, or come from a stranger -------------------------------------------------------------------


def make_external_link(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["window/input/data"]
        file["window/input/data"] = h5py.ExternalLink("/etc/passwd", "/data")


def make_soft_link(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["window/input/other"] = h5py.SoftLink("/window/input/data")


def cut_short(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def make_garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 999)


def make_symlink(path: Path) -> None:
    elsewhere = path.parents[1] / "elsewhere.h5"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def change_digest(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["window/digest"].attrs["checksum_column"]
        file["window/digest"][3] += np.uint64(1)


def call_it_a_recording(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = "caffe-harness recording"


def leave_out_iterations(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["window/iteration"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (make_external_link, "refused: /window/input/data is a link to another place or file"),
        (make_soft_link, "refused: /window/input/other is a link to another place or file"),
        (cut_short, "truncated or damaged"),
        (make_garbage, "truncated or damaged"),
        (make_symlink, "refused: not a file of this run directory"),
        (make_directory, "refused: not a file of this run directory"),
        (change_digest, f"of another run: iteration {FAULT - 7} was recorded with other weights"),
        (call_it_a_recording, "an HDF5 file, but not a window"),
        (leave_out_iterations, "damaged: it has no dataset /window/iteration"),
    ],
)
def test_a_file_that_is_damaged_or_hostile_is_left_out_with_a_sentence(
    home: Path, tmp_path: Path, change: Callable[[Path], None], sentence: str
) -> None:
    shutil.copytree(home / "fast", tmp_path / "run")
    path = window_of(tmp_path / "run")
    shutil.copy(path, path.with_name("1-2.h5"))  # what it is called does not matter
    change(path)
    with Recording(tmp_path / "run") as recording:
        assert recording.windows == (Window(FAULT - 10, FAULT + 1),)  # out of the other file
        assert np.isnan(recording.input(FAULT, "data")).any()
        (found,) = recording.damaged_windows
        assert found.startswith(str(path))
        assert sentence in found
        assert found in diagnose(recording).damaged
    path.with_name("1-2.h5").unlink()
    with Recording(tmp_path / "run") as recording:
        assert recording.windows == ()
        assert len(recording.iterations) == FAULT + 1


def test_numbers_that_changed_on_the_disk_are_named_and_the_others_are_read(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "fast", tmp_path / "run")
    path = window_of(tmp_path / "run")
    with h5py.File(path) as file:
        images = file["window/input/data"]
        number, row = divmod(4, images.chunks[0])
        place = images.id.get_chunk_info(number).byte_offset + row * images[0].nbytes
    with path.open("r+b") as raw:
        raw.seek(place + 100)
        raw.write(b"\x55")
    with Recording(tmp_path / "run") as recording:
        with pytest.raises(RecordingError, match=f"{path.name}: /window/input/data at iteration {FAULT - 6}: damaged"):
            recording.input(FAULT - 6, "data")
        assert np.isnan(recording.input(FAULT, "data")).any()


def recorded(run: Path) -> int:
    """Count the iterations that a reader sees now, of a run in progress."""
    if not (run / "recording.h5").exists():
        return 0
    with Recording(run) as recording:
        return len(recording.iterations)


def worker_of(supervisor: int) -> psutil.Process:
    children = psutil.Process(supervisor).children()
    return next(child for child in children if "harness.worker.main" in child.cmdline())
