"""Nets with several inputs resume with all of them in step, or with none.

The oracle is `caffe train` without interruption.
"""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from harness.recording import Recording
from tests.helpers.caffe_output import said_from, weights_of
from tests.helpers.commands import caffe_train, restart, train
from tests.helpers.lmdbs import RECORDS, digits, write_lmdb
from tests.helpers.nets import solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")

LAST = 18

# Images, and as targets the images of a layer of the same name that reads in batches of its own; likewise in the test.
SAME_NAME = """
layer {{ name: "data" type: "Data" top: "data" include {{ phase: TRAIN }} transform_param {{ mirror: true scale: 0.01 }}
  data_param {{ source: "{train}" batch_size: 6 backend: LMDB }} }}
layer {{ name: "data" type: "Data" top: "target" include {{ phase: TRAIN }}
  transform_param {{ crop_size: 11 scale: 0.1 }}
  data_param {{ source: "{test}" batch_size: 6 backend: LMDB }} }}
layer {{ name: "data" type: "Data" top: "data" include {{ phase: TEST }} transform_param {{ scale: 0.01 }}
  data_param {{ source: "{train}" batch_size: 5 backend: LMDB }} }}
layer {{ name: "data" type: "Data" top: "target" include {{ phase: TEST }}
  transform_param {{ crop_size: 11 scale: 0.1 }}
  data_param {{ source: "{test}" batch_size: 5 backend: LMDB }} }}
layer {{ name: "drop" type: "Dropout" bottom: "data" top: "drop" }}
layer {{ name: "ip" type: "InnerProduct" bottom: "drop" top: "ip"
  inner_product_param {{ num_output: 121 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "flat" type: "Flatten" bottom: "target" top: "flat" }}
layer {{ name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "flat" top: "loss" }}
"""


def write(home: Path, net: str, prefix: str = "native", **fields: object) -> Path:
    (home / "net.prototxt").write_text(net)
    values = {
        "max_iter": LAST,
        "snapshot": 6,
        "display": 1,
        "test_iter": 2,
        "test_interval": 4,
        "base_lr": 0.001,
    } | fields
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / prefix, **values))
    return home / "solver.prototxt"


def test_layers_of_one_name_each_keep_their_own_data(tmp_path: Path, digit_data: Path) -> None:
    solver = write(tmp_path, SAME_NAME.format(train=digit_data / "train", test=digit_data / "test"))
    native = caffe_train(solver)
    expected = weights_of(tmp_path / f"native_iter_{LAST}.caffemodel")
    train(solver, tmp_path / "run", "--watch", "10:13")
    again = {
        "of caffe": tmp_path / "native_iter_6.solverstate",
        "of the harness": tmp_path / "run/snapshots/native_iter_6.solverstate",
    }
    for name, state in again.items():
        done = train(solver, tmp_path / name, "--resume", state)
        assert "Not exact" not in done.stderr
        assert weights_of(tmp_path / name / f"snapshots/native_iter_{LAST}.caffemodel") == expected
        assert said_from((tmp_path / name / "solver.log").read_text(), 6) == said_from(native, 6)
    restart(tmp_path / "run", "--from", 11, "--out", tmp_path / "restarted")
    assert weights_of(tmp_path / f"restarted/snapshots/native_iter_{LAST}.caffemodel") == expected


def test_a_snapshot_without_indices_resumes(tmp_path: Path, digit_data: Path) -> None:
    """Before 0.3.0 a position held the name of its layer only; the places are in the order of the layers."""
    solver = write(tmp_path, SAME_NAME.format(train=digit_data / "train", test=digit_data / "test"))
    train(solver, tmp_path / "run")
    about = tmp_path / "run/snapshots/native_iter_6.json"
    told = json.loads(about.read_text())
    del told["digest"]  # neither did it hold this
    assert [place.pop("index") for place in told["point"]["places"]] == [0, 1, 0, 1]
    about.write_text(json.dumps(told))
    net = tmp_path / "net.prototxt"  # a layer before the others moves them
    extra = 'layer { name: "nothing" type: "DummyData" top: "nothing" dummy_data_param { shape { dim: 1 } } }'
    silence = 'layer { name: "silence" type: "Silence" bottom: "nothing" }'
    net.write_text(extra + net.read_text() + silence)
    train(solver, tmp_path / "again", "--resume", about.with_suffix(".solverstate"))
    with Recording(tmp_path / "run") as run, Recording(tmp_path / "again") as again:
        assert np.array_equal(run.series("digest")[6:], again.series("digest"))


# -- an input that cannot be positioned -------------------------------------------------------------------------------

COUNTER = '''
import caffe
import numpy as np


class Labels(caffe.Layer):
    """Gives the labels of the batches from the first record on."""

    def setup(self, bottom, top):
        self.labels, self.next = np.load(self.param_str), 0
        top[0].reshape(6)

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        numbers = np.arange(self.next, self.next + 6)
        top[0].data[...] = self.labels[numbers % len(self.labels)]
        self.next += 6

    def backward(self, top, propagate_down, bottom):
        pass
'''
LABELLED = """
layer {{ name: "data" type: "Data" top: "data" include {{ phase: TRAIN }} transform_param {{ scale: 0.01 }}
  data_param {{ source: "{train}" batch_size: 6 backend: LMDB }} }}
layer {{ name: "labels" type: "Python" top: "label" include {{ phase: TRAIN }}
  python_param {{ module: "counted_labels" layer: "Labels" param_str: "{labels}" }} }}
layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: TEST }} transform_param {{ scale: 0.01 }}
  data_param {{ source: "{test}" batch_size: 5 backend: LMDB }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
"""


def test_with_an_input_that_cannot_be_positioned_all_start_together(
    tmp_path: Path, digit_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "counted_labels.py").write_text(COUNTER)
    np.save(tmp_path / "labels.npy", digits(RECORDS, 1)[1].astype(np.float32))
    # the caffe command needs NumPy and pycaffe, too
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{sysconfig.get_paths()['purelib']}")
    net = LABELLED.format(train=digit_data / "train", test=digit_data / "test", labels=tmp_path / "labels.npy")
    solver = write(tmp_path, net)
    train(solver, tmp_path / "run")
    state = tmp_path / "run/snapshots/native_iter_6.solverstate"
    done = train(solver, tmp_path / "again", "--resume", state, "--watch", "6:7")
    said = "(Python) cannot be positioned: all inputs of the train net start together, at their first record"
    assert said in " ".join(done.stderr.split())
    assert f"layer labels {said}" in json.loads((tmp_path / "again/run.json").read_text())["not_exact"]
    images, labels = digits(RECORDS, 1)
    with Recording(tmp_path / "again") as again:
        assert np.array_equal(again.input(6, "data"), images[:6] * np.float32(0.01))
        assert np.array_equal(again.input(6, "label"), labels[:6])
    # the inputs of Caffe's own resume start together as well; its test net, which the harness positions, does too
    caffe_train(solver, f"--snapshot={state}")
    name = f"native_iter_{LAST}.caffemodel"
    assert weights_of(tmp_path / "again/snapshots" / name) == weights_of(tmp_path / name)
    refused = restart(tmp_path / "run", "--from", 6, "--skip", "8:9", "--out", tmp_path / "skipped", code=2)
    assert "the position of layer labels (Python) cannot be set" in " ".join(refused.stderr.split())


def test_with_other_data_in_one_input_all_start_together(tmp_path: Path, digit_data: Path) -> None:
    solver = write(tmp_path, SAME_NAME.format(train=digit_data / "train", test=digit_data / "test"))
    train(solver, tmp_path / "run", "--until", 6)
    images, labels = digits(20, 9)
    write_lmdb(tmp_path / "other", images, labels)
    net = tmp_path / "net.prototxt"
    net.write_text(net.read_text().replace(str(digit_data / "test"), str(tmp_path / "other"), 1))
    state = tmp_path / "run/snapshots/native_iter_6.solverstate"
    done = train(solver, tmp_path / "again", "--resume", state, "--until", 7, "--watch", "6:7")
    said = "layer data reads other data, from its first record on; so do all inputs of the train net"
    assert said in " ".join(done.stderr.split())
    with Recording(tmp_path / "again") as again:
        first = digits(RECORDS, 1)[0][:6] * np.float32(0.01)
        for image, given in zip(first, again.input(6, "data"), strict=True):
            assert np.array_equal(given, image) or np.array_equal(given, image[:, :, ::-1])
