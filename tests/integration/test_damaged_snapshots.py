"""A bit that flipped in a file of a snapshot is found before anything is trained, or does not matter.

The oracles are protobuf, h5py and json, which read the files as Caffe and the harness do.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from harness.caffe_files.messages import pb
from harness.errors import BadInput
from harness.recording.snapshots import read_snapshot
from harness.supervisor.resume import check_snapshot, from_solverstate
from tests.helpers.commands import restart, train
from tests.helpers.nets import solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")

NET = """
layer { name: "x" type: "DummyData" top: "x"
  dummy_data_param { shape { dim: 5 dim: 9 } data_filler { type: "gaussian" } } }
layer { name: "hidden" type: "InnerProduct" bottom: "x" top: "hidden"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "hidden" top: "hidden" }
layer { name: "loss" type: "Reduction" bottom: "hidden" top: "loss" loss_weight: 1
  reduction_param { operation: SUMSQ } }
"""


def trained(home: Path, **fields: object) -> Path:
    """The JSON of the snapshot at iteration 6 of a run of 8 iterations."""
    (home / "net.prototxt").write_text(NET)
    values = {"max_iter": 8, "snapshot": 6, "display": 0, "test_iter": None, "test_interval": None} | fields
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "native", **values))
    train(home / "solver.prototxt", home / "run", "--seed", 5)
    return home / "run/snapshots/native_iter_6.json"


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory, one_blas_thread: None) -> Path:
    return trained(tmp_path_factory.mktemp("binary"), lr_policy='"multistep"', gamma=0.5, stepvalue=3)


@pytest.fixture(scope="module")
def hdf5(tmp_path_factory: pytest.TempPathFactory, one_blas_thread: None) -> Path:
    return trained(tmp_path_factory.mktemp("hdf5"), snapshot_format="HDF5")


def flips(path: Path, number: int) -> Iterator[None]:
    """Write `path` with one bit flipped, `number` times; in the end, as it was."""
    content = path.read_bytes()
    positions = random.Random(7)
    for _ in range(number):
        damaged = bytearray(content)
        damaged[positions.randrange(len(content))] ^= 1 << positions.randrange(8)
        path.write_bytes(damaged)
        try:
            yield
        finally:
            path.write_bytes(content)


def restored_binary(state: Path) -> object:
    """What Caffe takes from a solverstate (SGDSolver::RestoreSolverStateFromBinaryProto)."""
    message = pb.SolverState.FromString(state.read_bytes())
    history = [(tuple(blob.shape.dim), np.array(blob.data, np.float32).tobytes()) for blob in message.history]
    return message.iter, message.current_step, history


def restored_h5(state: Path) -> object:
    with h5py.File(state) as file:
        history = [file[f"history/{i}"][()] for i in range(len(file["history"]))]
        numbers = [(h.shape, h.astype(np.float32).tobytes()) for h in history]
        return int(file["iter"][()].item()), int(file["current_step"][()].item()), numbers


def refusal(path: Path, read: Callable[[], object]) -> str | None:
    """The one sentence with which a damaged `path` is refused; None if it is not."""
    try:
        read()
    except BadInput as error:
        message = str(error)
    else:
        return None
    assert "\n" not in message
    assert path.name in message
    return message


def count_refused(state: Path, number: int, restored: Callable[[Path], object]) -> int:
    expected, refused = restored(state), 0
    for _ in flips(state, number):
        if refusal(state, lambda: check_snapshot(from_solverstate(state))):
            refused += 1
        else:
            assert restored(state) == expected
    return refused


def test_a_flipped_bit_in_a_solverstate_is_found_or_does_not_matter(binary: Path, hdf5: Path) -> None:
    assert count_refused(binary.with_suffix(".solverstate"), 400, restored_binary) > 150
    assert count_refused(hdf5.with_name("native_iter_6.solverstate.h5"), 200, restored_h5) > 10


def test_a_flipped_bit_in_the_json_is_found_or_does_not_matter(binary: Path) -> None:
    expected, refused = json.loads(binary.read_text()), 0
    for _ in flips(binary, 600):
        if refusal(binary, lambda: read_snapshot(binary)):
            refused += 1
        else:  # in the name of the field `digest`, or a space became a tab
            found = json.loads(binary.read_text())
            names = expected.keys() - ({"digest"} if "digest" not in found else set())
            assert all(found[name] == expected[name] for name in names)
    assert refused > 500


@contextmanager
def flipped(path: Path, part: bytes) -> Iterator[None]:
    """Write `path` with one bit of `part` flipped, which is somewhere in it; in the end, as it was."""
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[content.index(part)] ^= 1
    path.write_bytes(damaged)
    try:
        yield
    finally:
        path.write_bytes(content)


def test_no_training_starts_from_a_damaged_snapshot(binary: Path, tmp_path: Path) -> None:
    run, solver = binary.parents[1], binary.parents[2] / "solver.prototxt"
    state, model = binary.with_suffix(".solverstate"), binary.with_suffix(".caffemodel")
    momentum = np.array(pb.SolverState.FromString(state.read_bytes()).history[0].data[3:6], np.float32).tobytes()
    with flipped(state, momentum):
        assert "history = " in train(solver, tmp_path / "a", "--resume", state, code=2).stderr
        done = restart(run, "--from", 6, "--out", tmp_path / "a", code=2)
        assert f"{state}: history = " in done.stderr
        assert "--history reset" in done.stderr
        restart(run, "--from", 6, "--history", "reset", "--out", tmp_path / "reset")
    layers = pb.NetParameter.FromString(model.read_bytes()).layer
    weight = next(np.array(layer.blobs[0].data[3:6], np.float32).tobytes() for layer in layers if layer.blobs)
    with flipped(model, weight):
        for data in ("exact", "caffe"):
            done = restart(run, "--from", 6, "--data", data, "--out", tmp_path / "a", code=2)
            assert f"{model}: weight_digest = " in done.stderr
    words = json.loads(binary.read_text())["point"]["generator"]["words"]
    with flipped(binary, words[-9:].encode()):
        assert f"{binary}: digest = " in train(solver, tmp_path / "a", "--resume", state, code=2).stderr
    restart(run, "--from", 6, "--out", tmp_path / "undamaged")
