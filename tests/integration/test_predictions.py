"""The predictions for a recorded batch; the oracle is plain pycaffe with Caffe's own snapshots."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from harness.recording import Recording, RecordingError
from harness.schemas.predictions import NoPredictions, Predictions
from harness.supervisor.predict_client import predictions
from tests.helpers.commands import train
from tests.helpers.lmdbs import CLASSES, RECORDS, digits
from tests.helpers.nets import data_layer, small_net, solver_text
from tests.helpers.processes import command

pytestmark = pytest.mark.usefixtures("one_blas_thread")

# Plain pycaffe: argv are a prototxt, a caffemodel, an .npy of images, a file for what the net puts out.
_PYCAFFE = """
import sys, caffe, numpy as np
net = caffe.Net(sys.argv[1], sys.argv[2], caffe.TEST)
net.blobs["data"].data[...] = np.load(sys.argv[3])
np.savez(sys.argv[4], **net.forward())
"""

_INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 8 dim: 1 dim: 10 dim: 10 } } }'
_OUTPUT = """
layer { name: "p1" type: "Softmax" bottom: "loss1/classifier" top: "loss1/loss1" }
layer { name: "p3" type: "Softmax" bottom: "loss3/classifier" top: "loss3/loss3" }"""


def run(home: Path, net: str, *arguments: object, environment: dict[str, str] | None = None, **fields: object) -> Path:
    """A run of `net`: 7 iterations, watched from 3 to 5, with a snapshot before each."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "net.prototxt").write_text(net)
    few = {"max_iter": 7, "snapshot": 1, "test_iter": None, "test_interval": None} | fields
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "x", **few))
    train(home / "solver.prototxt", home / "run", "--watch", "3:6", *arguments, env=environment or {})
    return home / "run"


def by_hand(directory: Path, weights: int, inputs: int, net: str) -> dict[str, np.ndarray]:
    """The outputs of `net` with the weights before iteration `weights` on the images of iteration `inputs`."""
    with h5py.File(directory / "recording.h5") as file:
        row = list(file["window/iteration"][()]).index(inputs)
        np.save(directory.parent / "images.npy", file["window/input/data"][row])
    (directory.parent / "hand.prototxt").write_text(net)
    model = directory / f"snapshots/x_iter_{weights}.caffemodel"
    places = [directory.parent / name for name in ("hand.prototxt", "images.npy", "hand.npz")]
    done = command(sys.executable, "-c", _PYCAFFE, places[0], model, *places[1:])
    assert done.code == 0, done.stderr
    with np.load(places[2]) as file:
        return dict(file)


def labels_of(recording: Recording, iteration: int) -> list[int]:
    """The labels of the records whose keys were recorded."""
    labels = digits(RECORDS, 1)[1]
    return [int(labels[int(key[:8])]) for key in recording.keys(iteration)]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    """A run of the small net: shared params, a frozen layer, dropout, two losses."""
    return run(tmp_path_factory.mktemp("watched"), small_net(digit_data))


@pytest.mark.parametrize("iteration", [3, 5], ids=["inside the window", "at its end"])
def test_predictions_equal_those_of_pycaffe_on_caffes_own_snapshots(watched: Path, iteration: int) -> None:
    layers = re.search(r'layer \{ name: "conv1/3x3".*', (watched.parent / "net.prototxt").read_text(), re.DOTALL)
    assert layers is not None
    inner = "\n".join(x for x in re.split(r"\n(?=layer)", layers[0]) if "Loss" not in x and "Accuracy" not in x)
    with Recording(watched) as recording:
        found = predictions(recording, iteration)
        labels = labels_of(recording, iteration)
        assert [(h.name, h.weight, h.classes) for h in found] == [
            (h.name, h.weight, h.classes) for h in recording.heads
        ]
    for weights, when in ((iteration, "before"), (iteration + 1, "after")):
        truth = by_hand(watched, weights, iteration, _INPUT + inner + _OUTPUT)
        for head in found:
            assert list(head.labels) == labels
            ours: Predictions = getattr(head, when)
            theirs = truth[head.name]
            assert theirs.shape == (8, CLASSES)
            assert np.array_equal(ours.predicted, theirs.argmax(axis=1))
            assert np.allclose(ours.probability, theirs.max(axis=1), rtol=1e-5)
            assert np.allclose(ours.label_probability, theirs[range(8), labels], rtol=1e-5)
            assert np.allclose(ours.loss, -np.log(theirs[range(8), labels]), atol=1e-5)
            assert ours.loss.dtype == np.float64
    assert all(abs(h.before.loss - h.after.loss).min() > 0 for h in found)  # the two differ at all


@pytest.mark.parametrize("iter_size", [1, 2])
def test_without_dropout_the_mean_is_the_recorded_loss(tmp_path: Path, digit_data: Path, iter_size: int) -> None:
    net = small_net(digit_data).replace("dropout_ratio: 0.3", "dropout_ratio: 0")
    with Recording(run(tmp_path, net, iter_size=iter_size)) as recording:
        for iteration in (4, 5):
            found = predictions(recording, iteration)
            row = int(iteration - recording.iterations[0])
            total = sum(head.weight * head.before.loss.mean() for head in found)
            assert total == pytest.approx(recording.series("loss")[row], rel=1e-4)
            for head in found:
                assert list(head.labels) == labels_of(recording, iteration)
                assert len(head.labels) == len(head.after.loss) == 8 * iter_size
                last = head.before.loss[-8:].mean()  # Caffe shows the output of the last pass
                assert last == pytest.approx(recording.output(head.name)[row, 0], rel=1e-4)


_OWN_LAYER = """
import os, caffe
class Own(caffe.Layer):
    def setup(self, bottom, top):
        pass
    def reshape(self, bottom, top):
        top[0].reshape(*SHAPE)
    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data
    def backward(self, top, propagate_down, bottom):
        pass
"""


def test_batchnorm_uses_its_running_averages_and_unneeded_layers_are_not_run(tmp_path: Path, digit_data: Path) -> None:
    inner = f"""
layer {{ name: "bn" type: "BatchNorm" bottom: "data" top: "data"
  batch_norm_param {{ use_global_stats: false moving_average_fraction: 0.5 }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param {{ num_output: {CLASSES} weight_filler {{ type: "xavier" }} }} }}"""
    net = f"""
{data_layer(digit_data / "train", "TRAIN", 8, "crop_size: 10")}{inner}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss"
  loss_param {{ ignore_label: 2 }} include {{ phase: TRAIN }} }}
layer {{ name: "map" type: "Convolution" bottom: "data" top: "map"
  convolution_param {{ num_output: 3 kernel_size: 1 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "zeros" type: "DummyData" top: "zeros" dummy_data_param {{
  shape {{ dim: 8 dim: 1 dim: 10 dim: 10 }} }} }}
layer {{ name: "pixels" type: "SoftmaxWithLoss" bottom: "map" bottom: "zeros" top: "pixels" }}
layer {{ name: "own" type: "Python" bottom: "ip" top: "own" python_param {{ module: "my_own" layer: "Own" }} }}"""
    (tmp_path / "my_own.py").write_text(_OWN_LAYER.replace("SHAPE", "bottom[0].shape"))
    directory = run(tmp_path, net, environment={"PYTHONPATH": str(tmp_path)})
    with Recording(directory) as recording:
        (head,) = predictions(recording, 3)
        labels = np.array(labels_of(recording, 3))
    softened = inner.replace("use_global_stats: false", "")
    for weights, ours in ((3, head.before), (4, head.after)):
        output = '\nlayer { name: "p" type: "Softmax" bottom: "ip" top: "p" }'
        theirs = by_hand(directory, weights, 3, _INPUT + softened + output)["p"]
        assert np.allclose(ours.probability, theirs.max(axis=1), rtol=1e-5)
        assert 0 < sum(labels == 2) < 8
        assert np.array_equal(np.isnan(ours.loss), labels == 2)
        assert np.array_equal(np.isnan(ours.label_probability), labels == 2)
    assert head.name == "loss"


def test_without_weights_and_inputs_there_are_no_predictions(watched: Path, tmp_path: Path) -> None:
    with (
        Recording(watched) as recording,
        pytest.raises(RecordingError, match="iteration 2 is in no window; it has 3:6"),
    ):
        predictions(recording, 2)
    path = tmp_path / "recording.h5"
    for left_out, iteration in (("input", 3), ("update", 5), ("weight", 3)):
        shutil.copy(watched / "recording.h5", path)
        with h5py.File(path, "a", libver="latest") as file:
            del file["window"][left_out]
        with Recording(path) as recording, pytest.raises(RecordingError, match=f"no {left_out} was recorded; .*--capt"):
            predictions(recording, iteration)
    shutil.copy(watched / "recording.h5", path)
    with h5py.File(path, "a", libver="latest") as file:
        del file["window/update"]
    with Recording(path) as recording:
        assert len(predictions(recording, 4)) == 2  # W_5 was recorded


def test_a_net_without_classes_has_no_predictions(tmp_path: Path, digit_data: Path) -> None:
    net = f"""
{data_layer(digit_data / "train", "TRAIN", 8, "")}
layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param {{ num_output: 1 }} }}
layer {{ name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "label" top: "loss" }}"""
    with Recording(run(tmp_path, net)) as recording, pytest.raises(NoPredictions, match="no SoftmaxWithLoss layer"):
        predictions(recording, 3)


def test_a_python_layer_that_is_missing_or_kills_caffe_is_reported(
    tmp_path: Path, digit_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = f"""
{data_layer(digit_data / "train", "TRAIN", 8, "")}
layer {{ name: "own" type: "Python" bottom: "data" top: "own" python_param {{ module: "my_own" layer: "Own" }} }}
layer {{ name: "pool" type: "Pooling" bottom: "own" top: "pool" pooling_param {{ kernel_size: 2 stride: 2 }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "pool" top: "ip" inner_product_param {{ num_output: {CLASSES}
  weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}"""
    own = tmp_path / "own/my_own.py"
    own.parent.mkdir()
    own.write_text(_OWN_LAYER.replace("SHAPE", "bottom[0].shape"))
    path = os.pathsep.join([str(own.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    directory = run(tmp_path, net, environment={"PYTHONPATH": path})
    with Recording(directory) as recording:
        with pytest.raises(NoPredictions, match=r"iteration 3 .* died \(exit code 1\).* No module named 'my_own'"):
            predictions(recording, 3)
        monkeypatch.setenv("PYTHONPATH", path)
        (head,) = predictions(recording, 3)
        assert head.before.loss.mean() == pytest.approx(recording.output("loss")[3, 0], rel=1e-4)
        own.write_text(_OWN_LAYER.replace("SHAPE", "(8, 100)"))
        with pytest.raises(NoPredictions, match=r"killed by SIGABRT\): pooling_layer.*Input must have 4 axes"):
            predictions(recording, 3)


def test_a_caffe_that_cannot_be_imported_is_reported(
    watched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "caffe.py").write_text("raise ImportError('libcaffe.so.1.0.0: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Recording(watched) as recording, pytest.raises(NoPredictions, match=r"ImportError: libcaffe.so.1.0.0: cannot"):
        predictions(recording, 3)
