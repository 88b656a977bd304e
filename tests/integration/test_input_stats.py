"""Statistics of what data layers fill, at every iteration; the oracle is numpy in a callback of plain pycaffe."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from harness.recording import Recording, RecordingError
from harness.schemas.layout import INPUT_STATS
from tests.helpers.commands import train
from tests.helpers.nets import small_net, solver_text
from tests.helpers.processes import command

pytestmark = pytest.mark.usefixtures("one_blas_thread")

ITERATIONS = 12

ORACLE = """
import sys
import caffe, numpy as np
solver_file, out, iterations, *blobs = sys.argv[1:]
solver = caffe.get_solver(solver_file)
net, filled = solver.net, {name: [] for name in blobs}
sources = [i for i in range(len(net.layers)) if not len(net._bottom_ids(i))]
tops = {i: [net._blob_names[top] for top in net._top_ids(i)] for i in sources}
def after(layer):
    for name in filled.keys() & tops.get(layer, ()):
        filled[name].append(net.blobs[name].data.astype(np.float64))
net.after_forward(after)
solver.step(int(iterations))
np.savez(out, **filled)
"""


def filled_by_plain_pycaffe(solver: Path, blobs: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return what the data layers filled: (iterations, passes × elements) by blob."""
    out = solver.with_name("filled.npz")
    done = command(sys.executable, "-c", ORACLE, solver, out, ITERATIONS, *blobs, cwd=solver.parent)
    assert done.code == 0, done.stderr[-2000:]
    with np.load(out) as found:
        return {name: found[name].reshape(ITERATIONS, -1) for name in blobs}


def check(solver: Path, blobs: tuple[str, ...]) -> Recording:
    """Compare the statistics of a run of `solver` with those of plain pycaffe."""
    train(solver, solver.parent / "run", "--on-alarm", "continue", cwd=solver.parent)
    recording = Recording(solver.parent / "run")
    assert tuple(blob.name for blob in recording.inputs) == blobs
    stats = {name: recording.input_stat(name) for name in INPUT_STATS}
    expected = filled_by_plain_pycaffe(solver, blobs)
    for name, values in expected.items():
        with np.errstate(invalid="ignore"), warnings.catch_warnings(action="ignore"):
            assert np.array_equal(stats["minimum"][name], values.min(axis=1), equal_nan=True), name
            assert np.array_equal(stats["maximum"][name], values.max(axis=1), equal_nan=True), name
            np.testing.assert_allclose(stats["mean_abs"][name], np.abs(values).mean(axis=1), rtol=1e-12)
            assert np.array_equal(stats["nonfinite"][name], (~np.isfinite(values)).sum(axis=1)), name
    assert stats["minimum"].dims == ("iteration", "blob")
    assert list(stats["minimum"].iterations) == list(range(ITERATIONS))
    return recording


IN_PLACE = 'layer { name: "shift" type: "Power" bottom: "data" top: "data" power_param { shift: 100 } }'
SHARED = """layer { name: "flat" type: "Flatten" bottom: "data" top: "flat" }
layer { name: "shift" type: "Power" bottom: "flat" top: "flat" power_param { shift: 100 } }
layer { name: "end" type: "Silence" bottom: "flat" }"""


@pytest.mark.parametrize(
    ("changing", "passes"), [(IN_PLACE, 1), (IN_PLACE, 3), (SHARED, 1)], ids=["in place", "passes", "shared memory"]
)
def test_of_a_data_layer_with_test_passes_in_between(changing: str, passes: int, small: Path, digit_data: Path) -> None:
    text = small_net(digit_data).replace('layer { name: "conv1/3x3"', f'{changing}\nlayer {{ name: "conv1/3x3"', 1)
    (small / "net.prototxt").write_text(text)
    fields = {"max_iter": ITERATIONS, "test_interval": 5, "iter_size": passes}
    (small / "solver.prototxt").write_text(solver_text(small / "net.prototxt", small / "native", **fields))
    recording = check(small / "solver.prototxt", ("data", "label"))
    assert recording.input_stat("maximum")["data"].max() < 100  # before the layer in place
    part = recording.input_stat("maximum", slice(3, 9, 2))
    assert list(part.iterations) == [3, 5, 7]
    assert np.array_equal(part.values, recording.input_stat("maximum").values[3:9:2])
    with pytest.raises(RecordingError, match="no statistic of inputs 'median'"):
        recording.input_stat("median")


OTHERS = """name: "others"
layer { name: "rows" type: "HDF5Data" top: "rows" top: "target" hdf5_data_param { source: "list.txt" batch_size: 4 } }
layer { name: "noise" type: "DummyData" top: "noise" top: "zero"
  dummy_data_param { shape { dim: 4 dim: 3 } data_filler { type: "gaussian" } data_filler { type: "constant" } } }
layer { name: "fixed" type: "Input" top: "fixed" input_param { shape { dim: 4 dim: 3 } } }
layer { name: "code" type: "Python" top: "code" python_param { module: "counting_layer" layer: "Counting" } }
layer { name: "offset" type: "Parameter" top: "offset" parameter_param { shape { dim: 4 dim: 3 } } }
layer { name: "change" type: "Power" bottom: "zero" top: "zero" power_param { shift: 2 } }
layer { name: "sum" type: "Eltwise" bottom: "rows" bottom: "noise" bottom: "zero" bottom: "fixed" bottom: "code"
  bottom: "offset" top: "sum" }
layer { name: "ip" type: "InnerProduct" bottom: "sum" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "target" top: "loss" }
"""
COUNTING = """
import caffe
class Counting(caffe.Layer):
    def setup(self, bottom, top):
        self.count = 0
    def reshape(self, bottom, top):
        top[0].reshape(4, 3)
    def forward(self, bottom, top):
        self.count += 1
        top[0].data[...] = self.count
        if self.count == 8:
            top[0].data[1, :2] = float("nan"), float("inf")
    def backward(self, top, propagate_down, bottom):
        pass
"""


def test_of_all_other_layers_that_give_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "counting_layer.py").write_text(COUNTING)
    random = np.random.default_rng(0)
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["rows"] = random.normal(size=(10, 3)).astype(np.float32)
        file["target"] = random.normal(size=(10, 3)).astype(np.float32)
    (tmp_path / "list.txt").write_text("rows.h5\n")
    (tmp_path / "net.prototxt").write_text(OTHERS)
    fields = {"max_iter": ITERATIONS, "test_iter": None, "test_interval": None}
    solver = tmp_path / "solver.prototxt"
    solver.write_text(solver_text(tmp_path / "net.prototxt", tmp_path / "native", **fields))
    blobs = ("rows", "target", "noise", "zero", "fixed", "code")  # a Parameter layer's top is learned
    recording = check(solver, blobs)
    assert list(recording.input_stat("nonfinite")["code"]) == [0] * 7 + [2] + [0] * 4
