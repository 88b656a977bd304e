"""Windows with the solver's history restart at every iteration, whatever the type of the solver.

The oracles are plain pycaffe, which trains the same solver, and Caffe's own solverstates.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import caffe
import h5py
import numpy as np
import pytest

from harness import open_run
from harness.caffe_files.messages import pb
from harness.errors import BadInput
from harness.recording import Recording, RecordingError
from harness.worker.pycaffe import Solver
from harness.worker.solver_history import history_blobs
from tests.helpers.caffe_output import weights_of
from tests.helpers.commands import restart, rewind, train
from tests.helpers.nets import small_net, solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")

LAST, FIRST, SNAPSHOT, END = 20, 8, 10, 13  # of the training; of its window, and of the snapshot in that
NORM = """
layer { name: "norm" type: "BatchNorm" bottom: "frozen" top: "norm" }
layer { name: "after" type: "InnerProduct" bottom: "norm" top: "after"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss2" type: "SoftmaxWithLoss" bottom: "after" bottom: "label" top: "loss2" }
"""
STEPS = {"lr_policy": '"multistep"', "gamma": 0.5, "stepvalue: 5 stepvalue": 11}
SOLVERS: dict[str, dict[str, Any]] = {
    "SGD": {"iter_size": 2, "clip_gradients": 0.5, **STEPS},
    "Nesterov": {"regularization_type": '"L1"'},
    "AdaGrad": {"momentum": 0},
    "RMSProp": {"momentum": 0, "rms_decay": 0.9, **STEPS},
    "AdaDelta": {"momentum": 0.95, "delta": 1e-6, "base_lr": 1, "iter_size": 2},
    "Adam": {"momentum2": 0.99, "base_lr": 0.001, **STEPS},
}


@dataclass(frozen=True)
class Case:
    """The run of a solver under the harness, and the weights with which plain pycaffe ends."""

    run: Path
    expected: dict[str, list[bytes]]


def make(home: Path, data: Path, kind: str, *options: object) -> Path:
    """Train with the harness. Returns the solver; the run is `run` beside it."""
    (home / "net.prototxt").write_text(small_net(data, extra=NORM))
    fields = {"type": f'"{kind}"', "max_iter": LAST, "snapshot": SNAPSHOT, "test_iter": None, "test_interval": None}
    text = solver_text(home / "net.prototxt", home / "native", **fields | SOLVERS[kind])
    (home / "solver.prototxt").write_text(text)
    train(home / "solver.prototxt", home / "run", "--watch", f"{FIRST}:{END}", *options)
    return home / "solver.prototxt"


@pytest.fixture(scope="module")
def case(digit_data: Path, tmp_path_factory: pytest.TempPathFactory, one_blas_thread: None) -> Callable[[str], Case]:
    """A function that gives the case of a type of solver, made once."""

    @cache
    def make_case(kind: str) -> Case:
        home = tmp_path_factory.mktemp(kind)
        solver = caffe.get_solver(str(make(home, digit_data, kind, "--capture", "history")))
        solver.step(LAST)
        solver.snapshot()
        return Case(home / "run", weights_of(home / f"native_iter_{LAST}.caffemodel"))

    return make_case


def final(run: Path) -> dict[str, list[bytes]]:
    (model,) = run.glob(f"snapshots/*_iter_{LAST}.caffemodel")
    return weights_of(model)


@pytest.mark.parametrize("kind", SOLVERS)
def test_a_restart_from_inside_a_window_ends_with_the_weights_of_pycaffe(
    case: Callable[[str], Case], kind: str, tmp_path: Path
) -> None:
    """From the first iteration of the window: nothing that comes before it was kept."""
    found = case(kind)
    assert final(found.run) == found.expected
    done = restart(found.run, "--from", FIRST, "--out", tmp_path / "again")
    assert "Not exact" not in done.stderr
    assert final(tmp_path / "again") == found.expected
    verified = json.loads((tmp_path / "again/run.json").read_text())["verified"]
    assert verified["equal"] == verified["compared"] == LAST - FIRST


@pytest.mark.parametrize("kind", SOLVERS)
def test_the_history_of_an_iteration_is_that_of_caffes_snapshot_before_it(
    case: Callable[[str], Case], kind: str
) -> None:
    run = case(kind).run
    (state,) = run.glob(f"snapshots/*_iter_{SNAPSHOT}.solverstate")
    history = pb.SolverState.FromString(state.read_bytes()).history
    slots = 2 if kind in ("Adam", "AdaDelta") else 1
    with Recording(run) as recording:
        assert recording.window_arrays(SNAPSHOT) == ("weight", "history")
        read = [recording.history(SNAPSHOT, p.layer, p.index, s) for s in range(slots) for p in recording.params]
        with pytest.raises(RecordingError, match="no history of 'frozen/0/2'"):
            recording.history(SNAPSHOT, "frozen", 0, 2)
    assert [blob.shape for blob in read] == [tuple(blob.shape.dim) for blob in history]
    assert all(a.tobytes() == np.array(b.data, np.float32).tobytes() for a, b in zip(read, history, strict=True))
    assert any(blob.any() for blob in read[-(len(read) // slots) :])
    with h5py.File(run / "recording.h5") as file:
        assert file["window/history/conv1/3x3/0/0"].shape == (END - FIRST, 6, 1, 3, 3)


def test_a_window_without_history_is_refused_until_a_rewind_has_stored_it(
    case: Callable[[str], Case], digit_data: Path, tmp_path: Path
) -> None:
    make(tmp_path, digit_data, "Adam")
    refused = restart(tmp_path / "run", "--from", FIRST + 1, "--out", tmp_path / "first", code=2)
    said = " ".join(refused.stderr.split())
    assert "a window without the history of the Adam solver" in said
    assert f"Snapshots: 0, {SNAPSHOT}, {LAST}. To record it now, repeat 10 iterations from 0 on" in said
    assert f"rewind {tmp_path}/run --watch 9:10 --capture weight,history" in said
    done = rewind(tmp_path / "run", "--watch", "9:12", "--capture", "history")
    assert "Stored the solver's history: windows/9-12.h5" in done.stderr
    with open_run(tmp_path / "run") as run:
        run.rewind("14:15", capture=["history"])
        assert run.window_arrays(14) == ("weight", "history")
    options = ("--watch", "10:12", "--capture", "history,gradient", "--until", 12)
    restart(tmp_path / "run", "--from", FIRST + 1, *options, "--out", tmp_path / "first")
    restart(tmp_path / "first", "--from", 11, "--out", tmp_path / "second")
    assert final(tmp_path / "second") == case("Adam").expected


def test_the_history_of_a_window_is_rescaled_or_reset(case: Callable[[str], Case], tmp_path: Path) -> None:
    watch = ("--from", 9, "--watch", "9:10", "--capture", "history", "--until", 10)
    run = case("Nesterov").run
    restart(run, *watch, "--set", "base_lr=0.005", "--history", "rescale", "--out", tmp_path / "half")
    with Recording(run) as old, Recording(tmp_path / "half") as half:
        for p in old.params:
            expected = old.history(9, p.layer, p.index) * np.float32(0.5)
            assert np.array_equal(half.history(9, p.layer, p.index), expected)
    changes = ("--set", "type=AdaDelta", "--set", "momentum=0.9", "--out", tmp_path / "other")
    refused = restart(run, *watch, *changes, code=2)
    assert "holds the history of a solver of type Nesterov, which means something else to AdaDelta" in " ".join(
        refused.stderr.split()
    )
    restart(run, *watch, *changes, "--history", "reset")
    with Recording(tmp_path / "other") as other:
        assert not any(other.history(9, p.layer, p.index, slot).any() for p in other.params for slot in range(2))


def test_a_history_that_changed_on_the_disk_is_refused(case: Callable[[str], Case], tmp_path: Path) -> None:
    shutil.copytree(case("Adam").run, tmp_path / "run")
    with h5py.File(tmp_path / "run/recording.h5", "r+") as file:
        values = file["window/history/conv1/3x3/0/1"]
        values[1] = values[1] * 2
    done = restart(tmp_path / "run", "--from", FIRST + 1, "--out", tmp_path / "again", code=2)
    said = " ".join(done.stderr.split())
    assert f"/window/history/conv1/3x3/0/1 at iteration {FIRST + 1}: damaged" in said
    assert "restart from a snapshot" in said


def test_a_history_that_is_not_where_it_is_expected_is_refused(tmp_path: Path, small: Path) -> None:
    solver = caffe.SGDSolver(str(small / "solver.prototxt"))
    shapes = [tuple(blob.shape) for blob in solver.net.layers[-1].blobs]
    with pytest.raises(BadInput, match=r"--capture history: .*AdamSolver.* Leave history out"):
        history_blobs(solver, "Adam", shapes)
    with pytest.raises(BadInput, match="its blobs have other shapes than the params"):
        history_blobs(solver, "SGD", shapes)
    with pytest.raises(BadInput, match=r"no memory at|no object with"):
        history_blobs(cast("Solver", object()), "SGD", shapes)
