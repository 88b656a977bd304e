"""Layers that keep something from one batch to the next outside their params: resumed, they go on with it.

The oracles are an uninterrupted `caffe train` and plain pycaffe.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import caffe
import h5py
import numpy as np
import pytest

from harness.recording import Recording
from tests.helpers.caffe_output import said_from, weights_of
from tests.helpers.commands import caffe_train, restart, rewind, train
from tests.helpers.nets import solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")

LAST = 14


def recurrent(kind: str, name: str, bottoms: str, top: str, outputs: int, more: str = "") -> str:
    bottom = " ".join(f'bottom: "{blob}"' for blob in bottoms.split())
    filler = 'weight_filler { type: "uniform" min: -0.6 max: 0.6 }'
    return (
        f'layer {{ name: "{name}" type: "{kind}" {bottom} top: "{top}"\n'
        f"  recurrent_param {{ num_output: {outputs} {filler} {more} }} }}\n"
    )


# Three steps of two streams, each of which goes on for ever. `ones` is filled once, and multiplied in each pass.
NET = (
    """
layer { name: "x" type: "DummyData" top: "x" top: "target" dummy_data_param {
  shape { dim: 3 dim: 2 dim: 4 } shape { dim: 3 dim: 2 dim: 3 } data_filler { type: "gaussian" std: 1 } } }
layer { name: "cont" type: "DummyData" top: "cont" dummy_data_param {
  shape { dim: 3 dim: 2 } data_filler { value: 1 } } }
layer { name: "still" type: "DummyData" top: "still" dummy_data_param {
  shape { dim: 2 dim: 3 } data_filler { value: 0.3 } } }
layer { name: "ones" type: "DummyData" top: "ones" dummy_data_param {
  shape { dim: 3 dim: 2 dim: 3 } data_filler { value: 1 } } }
layer { name: "flat" type: "Reshape" bottom: "ones" top: "flat" reshape_param { shape { dim: 3 dim: 2 dim: 3 } } }
layer { name: "turn" type: "Power" bottom: "flat" top: "flat" power_param { scale: -1.2 } }
"""
    + recurrent("LSTM", "cell", "x cont still", "h", 5)
    + recurrent("LSTM", "cell/2", "h cont", "g", 3)
    + recurrent("RNN", "cell/3", "g cont", "r", 3)
    + """
layer { name: "drop" type: "Dropout" bottom: "r" top: "r" }
layer { name: "sum" type: "Eltwise" bottom: "r" bottom: "flat" top: "sum" eltwise_param { coeff: 1 coeff: 0.1 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "sum" bottom: "target" top: "loss" }
"""
)


def write(home: Path) -> Path:
    (home / "net.prototxt").write_text(NET)
    values = {"max_iter": LAST, "snapshot": 5, "display": 1, "test_iter": 2, "test_interval": 3}
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "native", **values))
    return home / "solver.prototxt"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, one_blas_thread: None) -> Path:
    """A training by `caffe train` (native…, native.log), and the same under the harness, in `run`."""
    home = tmp_path_factory.mktemp("layers")
    solver = write(home)
    (home / "native.log").write_text(caffe_train(solver))
    train(solver, home / "run", "--watch", "7:9")
    return home


def check_equal(run: Path, home: Path, iteration: int) -> None:
    """Check that `run`, from `iteration` on, is the training by `caffe train`."""
    expected = weights_of(home / f"native_iter_{LAST}.caffemodel")
    (last,) = run.glob(f"snapshots/*_iter_{LAST}.caffemodel")
    assert weights_of(last) == expected
    said = [said_from(log.read_text(), iteration) for log in (run / "solver.log", home / "native.log")]
    assert said[0] == said[1]
    assert any("Testing" in line for line in said[0])


def test_layers_go_on_with_their_state(home: Path, tmp_path: Path) -> None:
    """In the train net and in the test net, in a resume, a restart, and a restart of that."""
    check_equal(home / "run", home, 0)
    state = home / "run/snapshots/native_iter_5.solverstate"
    done = train(home / "solver.prototxt", tmp_path / "resumed", "--resume", state)
    assert "Resuming at iteration 5 exactly" in done.stderr
    check_equal(tmp_path / "resumed", home, 5)
    restart(home / "run", "--from", 5, "--until", 7, "--out", tmp_path / "first")
    restart(tmp_path / "first", "--from", 7, "--out", tmp_path / "second")
    check_equal(tmp_path / "second", home, 7)


def test_layers_go_on_with_the_state_of_a_window(home: Path, tmp_path: Path) -> None:
    done = restart(home / "run", "--from", 8, "--out", tmp_path / "third")
    assert "Not exact" not in done.stderr
    check_equal(tmp_path / "third", home, 8)
    shutil.copytree(home / "run", tmp_path / "run")
    rewind(tmp_path / "run", "--watch", "10:12")
    again = restart(tmp_path / "run", "--from", 11, "--out", tmp_path / "fourth")
    assert "Not exact" not in again.stderr
    check_equal(tmp_path / "fourth", home, 11)
    with Recording(home / "run") as recording:
        assert recording.window_arrays(8)[-1] == "state"
        assert recording.layer_state(8)["0/0/0/cell"].shape == (1, 2, 5)


def test_the_stored_state_is_what_the_layers_end_with(home: Path) -> None:
    solver = caffe.SGDSolver(str(home / "solver.prototxt"))
    solver.step(5)
    with np.load(home / "run/snapshots/native_iter_5.layers.npz") as state:
        for number, net in enumerate((solver.net, solver.test_nets[0])):
            assert np.array_equal(state[f"{number}/0/0/cell"][0], net.blobs["h"].data[-1])
            assert np.array_equal(state[f"{number}/0/0/cell/2"][0], net.blobs["g"].data[-1])
            assert np.array_equal(state[f"{number}/0/0/ones"], net.blobs["ones"].data)
            assert {key.split("/", 2)[2] for key in state if key.startswith(f"{number}/")} == {
                *("0/cell", "1/cell", "0/cell/2", "1/cell/2", "0/cell/3", "0/ones")
            }


def test_a_state_that_is_not_stored_is_named(home: Path, tmp_path: Path) -> None:
    done = train(home / "solver.prototxt", tmp_path / "a", "--resume", home / "native_iter_5.solverstate")
    for name in ("cell", "cell/2"):
        assert f"Not exact: layer {name} (LSTM) keeps its hidden state" in done.stderr
    assert "Not exact: layer cell/3 (RNN) keeps its hidden state" in done.stderr
    assert "Not exact: layer ones (DummyData) fills its top once" in done.stderr
    assert "layer still" not in done.stderr
    assert "exactly" not in done.stderr
    shutil.copytree(home / "run", tmp_path / "run")
    with h5py.File(tmp_path / "run/recording.h5", "r+") as file:
        del file["window/state"]  # as in recordings from before 0.3.0
    restarted = restart(tmp_path / "run", "--from", 8, "--until", 9, "--out", tmp_path / "b")
    assert "which this window does not hold" in restarted.stderr


def test_data_caffe_begins_without_state_as_caffe_does(home: Path, tmp_path: Path) -> None:
    state = home / "run/snapshots/native_iter_10.solverstate"
    train(home / "solver.prototxt", tmp_path / "ours", "--resume", state, "--data", "caffe")
    caffe_train(home / "solver.prototxt", f"--snapshot={home / 'native_iter_10.solverstate'}")
    expected = weights_of(home / f"native_iter_{LAST}.caffemodel")
    assert weights_of(tmp_path / f"ours/snapshots/native_iter_{LAST}.caffemodel") == expected


def test_a_missing_or_damaged_state_is_refused(home: Path, tmp_path: Path) -> None:
    state = home / "run/snapshots/native_iter_10.solverstate"
    kept = state.with_suffix(".layers.npz")
    content = kept.read_bytes()
    kept.write_bytes(content.replace(content[200:204], bytes(4), 1))
    done = train(home / "solver.prototxt", tmp_path / "a", "--resume", state, code=2)
    assert f"{kept}: layer_state_digest = " in done.stderr
    kept.unlink()
    done = train(home / "solver.prototxt", tmp_path / "a", "--resume", state, code=2)
    assert f"{kept}: layer_state_digest = (No such file" in done.stderr
    os.mkfifo(kept)
    done = train(home / "solver.prototxt", tmp_path / "a", "--resume", state, code=2)
    assert f"{kept}: layer_state_digest = (not a file)" in done.stderr
    kept.unlink()
    with kept.open("wb") as file:
        file.truncate(1 << 40)
    done = train(home / "solver.prototxt", tmp_path / "a", "--resume", state, code=2)
    assert f"{kept}: layer_state_digest = (larger than 4 GiB)" in done.stderr
