"""Solverstates written by the harness and restored by real Caffe."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from harness.caffe_files.caffemodel import read_solverstate
from harness.caffe_files.lr_policy import next_step
from harness.caffe_files.messages import pb, read_binary, read_text
from harness.caffe_files.solverstate import copy_solverstate, set_learned_net, write_window_state
from harness.errors import BadInput
from harness.recording import Recording
from tests.helpers.commands import caffe_train, train
from tests.helpers.nets import small_net, solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")

SUFFIXES = {"BINARYPROTO": "", "HDF5": ".h5"}


class Native:
    """`caffe train` to iteration 30 with snapshots at 20 and 30, in `home`."""

    def __init__(self, home: Path, data: Path, form: str = "BINARYPROTO", **fields: object) -> None:
        self.home, self.suffix = home, SUFFIXES[form]
        home.mkdir()
        # Caffe cannot write an HDF5 snapshot of layers with slashes in their names
        net = re.sub(r"(conv\d|loss\d)/", r"\1_", small_net(data)) if form == "HDF5" else small_net(data)
        (home / "net.prototxt").write_text(net)
        self.fields = {"max_iter": 30, "snapshot": 20, "snapshot_format": form, "test_iter": None} | fields
        self.fields |= {"test_interval": None}
        self.solver = self.write("solver", "native")
        caffe_train(self.solver)

    def write(self, solver: str, prefix: str, **fields: object) -> Path:
        path = self.home / f"{solver}.prototxt"
        path.write_text(solver_text(self.home / "net.prototxt", self.home / prefix, **self.fields | fields))
        return path

    def file(self, iteration: int, kind: str, prefix: str = "native") -> Path:
        return self.home / f"{prefix}_iter_{iteration}.{kind}{self.suffix}"

    def resumed(self, state: Path, prefix: str) -> Path:
        """The caffemodel of `caffe train --snapshot=state` at iteration 30."""
        caffe_train(self.write(prefix, prefix), f"--snapshot={state}")
        return self.file(30, "caffemodel", prefix)

    def restored(self, state: Path, prefix: str) -> list[np.ndarray]:
        """The history of Caffe after restoring `state`, after which it takes a snapshot and ends."""
        caffe_train(self.write(prefix, prefix, max_iter=20, snapshot=0), f"--snapshot={state}")
        return history(self.file(20, "solverstate", prefix))


def history(state: Path) -> list[np.ndarray]:
    if state.name.endswith(".h5"):
        with h5py.File(state) as file:
            return [file["history"][str(i)][()] for i in range(len(file["history"]))]
    message = read_binary(state, pb.SolverState, "solverstate")
    return [np.array(blob.data, np.float32).reshape(tuple(blob.shape.dim)) for blob in message.history]


def learned_net(state: Path) -> str:
    if not state.name.endswith(".h5"):
        return str(read_binary(state, pb.SolverState, "solverstate").learned_net)
    with h5py.File(state) as file:
        return str(file["learned_net"][()].decode())


def same_bits(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return [x.shape for x in a] == [x.shape for x in b] and all(
        np.array_equal(x.view(np.uint32), y.view(np.uint32)) for x, y in zip(a, b, strict=True)
    )


def weights(model: Path) -> dict[str, np.ndarray]:
    if not model.name.endswith(".h5"):
        net = read_binary(model, pb.NetParameter, "caffemodel")
        return {f"{x.name}/{i}": np.array(b.data, np.float32) for x in net.layer for i, b in enumerate(x.blobs)}
    with h5py.File(model) as file:
        return {f"{layer}/{i}": group[i][()] for layer, group in file["data"].items() for i in group}


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and len(a) > 6 and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module", params=SUFFIXES)
def native(request: pytest.FixtureRequest, digit_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Native:
    return Native(tmp_path_factory.mktemp("native") / request.param, digit_data, request.param)


@pytest.fixture(scope="module")
def binary(digit_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Native:
    return Native(tmp_path_factory.mktemp("binary") / "home", digit_data)


def test_a_copy_in_another_directory_trains_as_the_original(native: Native, tmp_path: Path) -> None:
    state, model = native.file(20, "solverstate"), native.file(20, "caffemodel")
    original = weights(native.resumed(state, "original"))
    moved = tmp_path / "moved" / f"w.caffemodel{native.suffix}"
    moved.parent.mkdir()
    moved.write_bytes(model.read_bytes())
    orphan = tmp_path / state.name
    orphan.write_bytes(state.read_bytes())
    set_learned_net(orphan, "/nowhere/at_all.caffemodel")
    target = tmp_path / f"copy.solverstate{native.suffix}"
    assert copy_solverstate(orphan, moved, target, None) == target
    assert same_bits(history(target), history(state))
    assert read_solverstate(target).iteration == 20
    assert learned_net(target) == str(moved)
    assert equal(weights(native.resumed(target, "copied")), original)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([orphan.name, target.name, "moved"])


def test_a_relative_caffemodel_is_named_by_its_absolute_path(
    native: Native, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / f"copy.solverstate{native.suffix}"
    monkeypatch.chdir(native.home)
    copy_solverstate(native.file(20, "solverstate"), Path(native.file(20, "caffemodel").name), target, None)
    assert learned_net(target) == str(native.file(20, "caffemodel"))


@pytest.mark.parametrize("scale", [0.5, 0.1, -3.0])
def test_history_is_multiplied(native: Native, tmp_path: Path, scale: float) -> None:
    state = native.file(20, "solverstate")
    target = tmp_path / f"scaled.solverstate{native.suffix}"
    copy_solverstate(state, native.file(20, "caffemodel"), target, scale)
    expected = [blob * np.float32(scale) for blob in history(state)]
    assert any(blob.any() for blob in expected)
    assert same_bits(history(target), expected)
    if scale == 0.5:
        assert same_bits(native.restored(target, "half"), expected)


def test_a_solverstate_is_rewritten_in_place(native: Native, tmp_path: Path) -> None:
    state = tmp_path / f"own.solverstate{native.suffix}"
    state.write_bytes(native.file(20, "solverstate").read_bytes())
    before = history(state)
    copy_solverstate(state, native.file(20, "caffemodel"), state, 2.0)
    assert same_bits(history(state), [blob * np.float32(2) for blob in before])


def test_a_reset_history_is_plus_zero_even_where_it_was_not_finite(native: Native, tmp_path: Path) -> None:
    state = tmp_path / f"broken.solverstate{native.suffix}"
    state.write_bytes(native.file(20, "solverstate").read_bytes())
    _plant(state, [np.nan, np.inf, -np.inf, -0.0, -1.0])
    assert np.isnan(history(state)[0].flat[0])
    target = tmp_path / f"reset.solverstate{native.suffix}"
    copy_solverstate(state, native.file(20, "caffemodel"), target, 0.0)
    zeros = [np.zeros_like(blob) for blob in history(state)]
    assert same_bits(history(target), zeros)
    assert same_bits(native.restored(target, "reset"), zeros)
    # and what is not finite stays so when it is kept or scaled
    assert same_bits(history(copy_solverstate(state, native.file(20, "caffemodel"), target, None)), history(state))
    copy_solverstate(state, native.file(20, "caffemodel"), target, 0.5)
    assert np.isnan(history(target)[0].flat[0])
    assert history(target)[0].flat[1:5].tolist() == [np.inf, -np.inf, 0.0, -0.5]


def _plant(state: Path, values: list[float]) -> None:
    if state.name.endswith(".h5"):
        with h5py.File(state, "r+") as file:
            blob = file["history/0"][()]
            blob.flat[: len(values)] = values
            file["history/0"][...] = blob
        return
    message = read_binary(state, pb.SolverState, "solverstate")
    message.history[0].data[: len(values)] = values
    state.write_bytes(message.SerializeToString())


def test_a_history_of_doubles_is_scaled_as_read_by_caffe(binary: Native, tmp_path: Path) -> None:
    message = read_binary(binary.file(20, "solverstate"), pb.SolverState, "solverstate")
    for blob in message.history:
        blob.double_data[:] = [value * (1 + 1e-12) for value in blob.data]
        blob.ClearField("data")
    state, target = tmp_path / "double.solverstate", tmp_path / "scaled.solverstate"
    state.write_bytes(message.SerializeToString())
    copy_solverstate(state, binary.file(20, "caffemodel"), target, 0.3)
    expected = [blob * np.float32(0.3) for blob in history(binary.file(20, "solverstate"))]
    assert same_bits(binary.restored(target, "double"), expected)


# -- files that are no solverstates -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [None, 0.5])
@pytest.mark.parametrize(
    "damage",
    [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"base_lr: 0.1\n" * 20],
    ids=["cut", "empty", "text"],
)
def test_a_damaged_solverstate_is_refused(
    native: Native, tmp_path: Path, damage: Callable[[bytes], bytes], scale: float | None
) -> None:
    state = tmp_path / f"damaged.solverstate{native.suffix}"
    state.write_bytes(damage(native.file(20, "solverstate").read_bytes()))
    target = tmp_path / f"new.solverstate{native.suffix}"
    with pytest.raises(BadInput, match=r"damaged.*: not a solverstate: .* Give a solverstate that Caffe wrote"):
        copy_solverstate(state, native.file(20, "caffemodel"), target, scale)
    assert list(tmp_path.iterdir()) == [state]


def test_a_caffemodel_is_no_solverstate(native: Native, tmp_path: Path) -> None:
    model = native.file(20, "caffemodel")
    with pytest.raises(BadInput, match="not a solverstate"):
        copy_solverstate(model, model, tmp_path / f"new.solverstate{native.suffix}", 0.0)


def test_a_target_of_the_other_format_is_refused(binary: Native, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Caffe recognizes HDF5 by the suffix"):
        copy_solverstate(binary.file(20, "solverstate"), tmp_path / "m", tmp_path / "new.solverstate.h5", None)


# -- keep, rescale, reset ---------------------------------------------------------------------------------------------


# -- from a window ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watched(digit_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Native:
    """A native run with everything that comes between a gradient and its update, and the same run under the harness."""
    fields: dict[str, Any] = {
        "lr_policy": '"multistep"',
        "gamma": 0.5,
        "stepvalue": [7, 15],
        "iter_size": 2,
        "clip_gradients": 0.8,
    }
    native = Native(tmp_path_factory.mktemp("watched") / "home", digit_data, **fields)
    train(native.solver, native.home / "run", "--watch", "18:22")
    log = caffe_train(native.write("again", "again"))
    assert log.count("Gradient clipping") > 5
    return native


def _from_window(watched: Native, target: Path) -> Path:
    solver = read_text(watched.solver, pb.SolverParameter, "solver")
    with Recording(watched.home / "run") as recording:
        updates = [recording.update(19, p.layer, p.index) for p in recording.params]
    step = 0
    for iteration in range(20):
        step = next_step(solver, iteration, step)
    return write_window_state(updates, 20, step, watched.file(20, "caffemodel"), target)


def test_a_window_gives_the_solverstate_of_caffe(watched: Native, tmp_path: Path) -> None:
    made = _from_window(watched, tmp_path / "made.solverstate")
    caffes = watched.file(20, "solverstate")
    assert made.read_bytes() == caffes.read_bytes()
    assert read_solverstate(made).history == read_solverstate(caffes).history
    assert read_binary(made, pb.SolverState, "solverstate").current_step == 2


def test_training_continues_from_a_window_as_from_a_snapshot(watched: Native, tmp_path: Path) -> None:
    made = _from_window(watched, tmp_path / "made.solverstate")
    expected = weights(watched.resumed(watched.file(20, "solverstate"), "caffes"))
    assert equal(weights(watched.resumed(made, "made")), expected)
    # a history of nothing is something else
    zeroed = copy_solverstate(made, watched.file(20, "caffemodel"), tmp_path / "zeroed.solverstate", 0.0)
    assert not equal(weights(watched.resumed(zeroed, "zeroed")), expected)
