"""Windows contain what Caffe computed; the oracles are plain pycaffe, LMDB and float64 arithmetic."""

from __future__ import annotations

from pathlib import Path

import caffe
import h5py
import lmdb
import numpy as np
import pytest

from harness.caffe_files.messages import pb
from harness.recording import Recording, RecordingError, Window
from tests.helpers.commands import train
from tests.helpers.nets import data_layer, small_net, solver_text

WINDOW = range(30, 36)
WRAPS = 38  # the iteration whose 8 × 2 images go past the last of the 203 records


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    """A run with iter_size 2, Nesterov, effective clipping and two windows."""
    home = tmp_path_factory.mktemp("window")
    (home / "net.prototxt").write_text(small_net(digit_data))
    (home / "solver.prototxt").write_text(
        solver_text(
            home / "net.prototxt", home / "native", iter_size=2, clip_gradients=0.2, type='"Nesterov"', max_iter=40
        )
    )
    train(home / "solver.prototxt", home / "run", "--watch", "30:36", "--watch", "38:39")
    return home / "run"


@pytest.fixture
def recording(run: Path) -> Recording:
    return Recording(run)


def test_the_next_weights_are_the_weights_minus_the_update(recording: Recording) -> None:
    assert recording.windows == (Window(30, 36), Window(38, 39))
    for t in WINDOW[:-1]:
        for p in recording.params:
            after = recording.weight(t, p.layer, p.index) - recording.update(t, p.layer, p.index)
            assert np.array_equal(after, recording.weight(t + 1, p.layer, p.index)), (t, p)


def test_frozen_blobs_do_not_move_and_others_do(recording: Recording) -> None:
    for p in recording.params:
        moved = np.abs(recording.update(31, p.layer, p.index)).max() > 0
        assert moved == (p.layer != "frozen"), p
        assert p.lr_mult == (0 if p.layer == "frozen" else 2 if p.layer.startswith("conv") and p.index else 1)


def test_gradients_are_those_of_plain_pycaffe_at_the_recorded_weights_and_inputs(small: Path, digit_data: Path) -> None:
    net_text = "".join(line + "\n" for line in small_net(digit_data).splitlines() if "Dropout" not in line)
    (small / "net.prototxt").write_text(net_text)  # a dropout mask is not recorded, so there is none here
    solver = solver_text(small / "net.prototxt", small / "x", iter_size=2, clip_gradients=0.1, max_iter=9)
    (small / "solver.prototxt").write_text(solver)
    train(small / "solver.prototxt", small / "run", "--watch", "4:9")
    recording = Recording(small / "run")

    count, *shape = recording.input(4, "data").shape[1:]
    inputs = f"""layer {{ name: "in" type: "Input" top: "data" top: "label" input_param {{
      shape {{ dim: {count} {" ".join(f"dim: {n}" for n in shape)} }} shape {{ dim: {count} }} }} }}"""
    (small / "plain.prototxt").write_text(inputs + net_text[net_text.index('layer { name: "conv1/3x3"') :])
    net = caffe.Net(str(small / "plain.prototxt"), caffe.TRAIN)
    for t in range(4, 9):
        for p in recording.params:
            net.params[p.layer][p.index].data[...] = recording.weight(t, p.layer, p.index)
        net.clear_param_diffs()
        for images, labels in zip(recording.input(t, "data"), recording.input(t, "label"), strict=True):
            net.blobs["data"].data[...] = images
            net.blobs["label"].data[...] = labels
            net.forward()
            net.backward()
        for p in recording.params:
            assert np.array_equal(recording.gradient(t, p.layer, p.index), net.params[p.layer][p.index].diff), (t, p)


def test_gradients_are_raw_and_updates_are_not(recording: Recording) -> None:
    """Clipping to 0.2 changes the update, not the gradient."""
    whole = np.sqrt(sum(np.sum(recording.gradient(30, p.layer, p.index).astype(float) ** 2) for p in recording.params))
    assert whole > 0.2
    assert np.isclose(whole, np.sqrt(np.sum(recording.stat("gradient_l2").values[30] ** 2)), rtol=1e-12)


def test_statistics_equal_a_float64_oracle(recording: Recording) -> None:
    for t in WINDOW:
        for p in recording.params:
            label = f"{p.layer}/{p.index}"
            for kind in ("weight", "gradient", "update"):
                values = getattr(recording, kind)(t, p.layer, p.index).astype(np.float64)
                l2 = recording.stat(f"{kind}_l2")[label][t]
                assert np.isclose(l2, np.sqrt(np.sum(values**2)), rtol=1e-12, atol=0), (t, label, kind)
                if kind != "update":
                    assert recording.stat(f"{kind}_max")[label][t] == np.abs(values).max()
    assert not recording.stat("gradient_nonfinite").values.any()


def test_keys_are_those_of_the_images(recording: Recording, digit_data: Path) -> None:
    with lmdb.open(str(digit_data / "train"), readonly=True) as environment, environment.begin() as transaction:
        order = [bytes(key) for key, _ in transaction.cursor()]
        for t in (*WINDOW, WRAPS):
            keys = recording.keys(t)
            assert keys == [order[(t * 16 + i) % len(order)] for i in range(16)]
            assert (keys != sorted(keys)) == (t == WRAPS)
            images = recording.input(t, "data").reshape(16, 10, 10)
            labels = recording.input(t, "label").ravel()
            for key, image, label in zip(keys, images, labels, strict=True):
                record = transaction.get(key)
                assert record is not None
                datum = pb.Datum.FromString(record)
                assert datum.label == label
                whole = np.frombuffer(datum.data, np.uint8).reshape(12, 12).astype(np.float32) * np.float32(0.0078125)
                crops = [whole[y : y + 10, x : x + 10] for y in range(3) for x in range(3)]
                assert any(np.array_equal(image, c) or np.array_equal(image, c[:, ::-1]) for c in crops)


def test_activations_at_the_display_interval_and_in_windows(recording: Recording) -> None:
    activation = recording.activation("zero_fraction")
    assert list(activation.iterations) == sorted({*range(0, 40, 7), *WINDOW, WRAPS})
    names = [blob.name for blob in recording.blobs]
    assert "conv1/3x3" in names
    assert not any("split" in name for name in names)
    data = recording.input(33, "data")[-1].astype(np.float64)  # activations are those of the last pass
    row = list(activation.iterations).index(33)
    assert activation["data"][row] == np.mean(data == 0)
    assert np.isclose(recording.activation("mean_abs")["data"][row], np.abs(data).mean(), rtol=1e-12)
    assert recording.activation("max")["data"][row] == np.abs(data).max()
    assert 0 < activation["conv1/3x3"][row] < 1  # a ReLU wrote into it


def test_every_axis_has_a_scale_and_plain_h5py_reads_it(run: Path) -> None:
    with h5py.File(run / "recording.h5") as file:
        assert file.attrs["format"] == "caffe-harness recording"
        assert file.attrs["format_version"] == 1
        assert file.attrs["closed"]
        assert file["window/weight/conv1/3x3/0"].shape == (7, 6, 1, 3, 3)
        assert file["window/input/data"].shape == (7, 2, 8, 1, 10, 10)
        assert file["output/loss1/loss1"].shape == (40, 1)
        assert file["stat/gradient_l2"].shape == (40, len(file["param"]))
        assert file["window/key"].shape == (7, 16)
        bare: list[str] = []

        def look(name: str, node: h5py.HLObject) -> None:
            if isinstance(node, h5py.Dataset) and not node.is_scale and name != "alarm":
                bare.extend(f"{name}[{i}]" for i, axis in enumerate(node.dims) if not len(axis))

        file.visititems(look)
        assert not bare
        assert file["stat/gradient_l2"].dims[0][0] == file["iteration"]
        assert file["stat/gradient_l2"].dims[1][0] == file["param"]


def test_missing_data_is_an_error_with_the_reason(recording: Recording, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"iteration 36 is in no window; it has 30:36, 38:39"):
        recording.weight(36, "conv1/3x3")
    with pytest.raises(RecordingError, match=r"Did you mean .*conv1/3x3/0"):
        recording.gradient(30, "conv1/3x")
    with pytest.raises(RecordingError, match="Did you mean gradient_l2"):
        recording.stat("gradient_L2")
    with pytest.raises(RecordingError, match="no output 'loss2/loss1'"):
        recording.output("loss2/loss1")
    with pytest.raises(RecordingError, match="no series"):
        recording.series("learning_rate")


@pytest.mark.parametrize("passes", [1, 2])
def test_a_window_may_reach_the_last_iteration(small: Path, passes: int) -> None:
    """Caffe makes one more forward pass after it to display the last loss."""
    fields = {"max_iter": 14, "iter_size": passes}
    (small / "solver.prototxt").write_text(solver_text(small / "net.prototxt", small / "native", **fields))
    train(small / "solver.prototxt", small / "run", "--watch", "10:14")
    with Recording(small / "run") as recording:
        assert recording.windows == (Window(10, 14),)
        assert np.abs(recording.input(13, "data")).max() > 0


_CHANGING = """
import caffe
class Batches(caffe.Layer):
    def setup(self, bottom, top):
        self.seen = 0
    def reshape(self, bottom, top):
        side = 9 if self.seen >= 5 else 10
        top[0].reshape(1, 1, side, side)
    def forward(self, bottom, top):
        self.seen += 1
        top[0].data[...] = 1
    def backward(self, top, propagate_down, bottom):
        pass
"""


def test_an_input_that_changes_its_shape_does_not_end_the_run(small: Path) -> None:
    (small / "batches.py").write_text(_CHANGING)
    (small / "net.prototxt").write_text("""
layer { name: "data" type: "Python" top: "data" python_param { module: "batches" layer: "Batches" } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "sum" type: "Reduction" bottom: "conv" top: "sum" loss_weight: 1 }""")
    fields = {"max_iter": 12, "test_iter": None, "test_interval": None}
    (small / "solver.prototxt").write_text(solver_text(small / "net.prototxt", small / "x", **fields))
    done = train(small / "solver.prototxt", small / "run", "--watch", "2:12", env={"PYTHONPATH": str(small)})
    assert "the input data has changed its shape" in done.stderr
    with Recording(small / "run") as recording:
        assert recording.input(2, "data").min() == 1
        assert recording.input(11, "data").max() == 0
        assert len(recording.iterations) == 12


@pytest.mark.parametrize(
    ("capture", "kept", "missing"),
    [("gradient", ["gradient"], ["weight", "update", "input"]), ("input,weight", ["input", "weight"], ["gradient"])],
)
def test_capture_keeps_the_requested_arrays(small: Path, capture: str, kept: list[str], missing: list[str]) -> None:
    done = train(
        small / "solver.prototxt",
        small / "run",
        "--until",
        5,
        "--watch",
        "3:4",
        "--watch",
        "50:60",
        "--watch",
        "4:9",
        "--capture",
        capture,
    )
    assert "50:60 lies outside this run's iterations 0:5" in done.stderr
    assert "3:9 reaches beyond this run's iterations 0:5" in done.stderr
    with Recording(small / "run") as recording:
        assert recording.windows == (Window(3, 5),)
        for kind in kept:
            array = recording.input(3, "data") if kind == "input" else getattr(recording, kind)(3, "conv1/3x3")
            assert np.abs(array).max() > 0
        for kind in missing:
            with pytest.raises(RecordingError, match=f"no {kind} was recorded"):
                recording.input(3, "data") if kind == "input" else getattr(recording, kind)(3, "conv1/3x3")


def test_huge_values_have_finite_norms_and_nans_are_counted(tmp_path: Path, digit_data: Path) -> None:
    net = f"""{data_layer(digit_data / "train", "TRAIN", 8, "")}
layer {{ name: "huge" type: "InnerProduct" bottom: "data" top: "huge" param {{ lr_mult: 0 }} param {{ lr_mult: 0 }}
  inner_product_param {{ num_output: 5 weight_filler {{ type: "constant" value: 1e30 }} }} }}
layer {{ name: "silence" type: "Silence" bottom: "huge" }}
layer {{ name: "learns" type: "InnerProduct" bottom: "data" top: "learns"
  inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "far" type: "Power" bottom: "learns" top: "far" power_param {{ scale: 1e25 }} }}
layer {{ name: "loss" type: "EuclideanLoss" bottom: "far" bottom: "huge" top: "loss" loss_weight: 1e-20 }}"""
    (tmp_path / "net.prototxt").write_text(net)
    solver = solver_text(tmp_path / "net.prototxt", tmp_path / "x", max_iter=3, test_iter=None, test_interval=None)
    (tmp_path / "solver.prototxt").write_text(solver)
    train(tmp_path / "solver.prototxt", tmp_path / "run", "--watch", "0:3", "--on-alarm", "continue")
    with Recording(tmp_path / "run") as recording:
        norms = recording.stat("weight_l2")["huge/0"]
        assert np.allclose(norms, np.float64(np.float32(1e30)) * np.sqrt(5 * 144), rtol=1e-6)
        bad = recording.stat("gradient_nonfinite")["learns/0"]
        for t in range(3):
            gradient = recording.gradient(t, "learns")
            assert bad[t] == np.count_nonzero(~np.isfinite(gradient))
        assert bad[-1] > 0
