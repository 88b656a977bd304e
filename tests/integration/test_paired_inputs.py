"""Nets with several inputs resume with all of them in step, or with none.

The oracle is `caffe train` without interruption.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.recording import Recording
from tests.helpers.caffe_output import said_from, weights_of
from tests.helpers.commands import caffe_train, restart, train
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
    assert [place.pop("index") for place in told["point"]["places"]] == [0, 1, 0, 1]
    about.write_text(json.dumps(told))
    net = tmp_path / "net.prototxt"  # a layer before the others moves them
    extra = 'layer { name: "nothing" type: "DummyData" top: "nothing" dummy_data_param { shape { dim: 1 } } }'
    silence = 'layer { name: "silence" type: "Silence" bottom: "nothing" }'
    net.write_text(extra + net.read_text() + silence)
    train(solver, tmp_path / "again", "--resume", about.with_suffix(".solverstate"))
    with Recording(tmp_path / "run") as run, Recording(tmp_path / "again") as again:
        assert np.array_equal(run.series("digest")[6:], again.series("digest"))
