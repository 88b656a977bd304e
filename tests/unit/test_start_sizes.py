"""Sizes of start weights: what fillers draw, and which layers deviate from that."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.caffe_files.fillers import drawn_norm
from harness.caffe_files.messages import parse_text, pb
from harness.diagnosis.cause.start_sizes import compared
from harness.schemas.layout import Param
from tests.helpers.processes import command

FILLERS = {
    "xavier": 'type: "xavier"',
    "out": 'type: "xavier" variance_norm: FAN_OUT',
    "msra": 'type: "msra" variance_norm: AVERAGE',
    "gaussian": 'type: "gaussian" std: 0.03',
    "uniform": 'type: "uniform" min: -0.1 max: 0.3',
}
LAYER = """layer {{ name: "{0}" type: "Convolution" bottom: "data" top: "{0}"
  convolution_param {{ num_output: 64 kernel_size: 5 weight_filler {{ {1} }} }} }}
"""
SHAPE = (64, 3, 5, 5)
TEXT = 'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }\n' + "".join(
    LAYER.format(name, filler) for name, filler in FILLERS.items()
)
DRAW = """
import caffe, json, sys
caffe.set_random_seed(3)
net = caffe.Net(sys.argv[1], caffe.TRAIN)
print(json.dumps({name: float((blobs[0].data.astype(float) ** 2).sum() ** 0.5) for name, blobs in net.params.items()}))
"""


def test_fillers_draw_weights_of_that_size(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(TEXT)
    done = command(sys.executable, "-c", DRAW, tmp_path / "net.prototxt", env={"GLOG_minloglevel": "2"})
    drawn = json.loads(done.stdout.splitlines()[-1])
    layers = {layer.name: layer for layer in parse_text(TEXT, pb.NetParameter, Path("net")).layer}
    assert {name: drawn_norm(layers[name], SHAPE) for name in FILLERS} == pytest.approx(drawn, rel=0.03)


@pytest.mark.parametrize("filler", ['type: "constant" value: 1', 'type: "bilinear"', 'type: "gaussian" sparse: 3', ""])
def test_what_is_not_drawn_has_no_usual_size(filler: str) -> None:
    (layer,) = parse_text(LAYER.format("a", filler), pb.NetParameter, Path("net")).layer
    assert drawn_norm(layer, SHAPE) is None


@pytest.mark.parametrize(
    ("factors", "unusual"),
    [
        ({}, {}),
        ({"xavier": 1.4, "uniform": 0.7}, {}),
        ({"xavier": 2.5, "gaussian": 0.4}, {"xavier": 2.5, "gaussian": 0.4}),
        (dict.fromkeys(FILLERS, 5.0), {}),  # training has made all of them larger
        ({"xavier": math.nan, "uniform": 3.0}, {"uniform": 3.0}),
    ],
)
def test_layers_are_compared_with_each_other(factors: Mapping[str, float], unusual: Mapping[str, float]) -> None:
    net = parse_text(TEXT, pb.NetParameter, Path("net"))
    norms = [(drawn_norm(layer, SHAPE) or 0) * factors.get(layer.name, 1.0) for layer in net.layer]
    params = [Param(layer.name, 0, SHAPE, 1.0, 1.0) for layer in net.layer]
    assert compared(net, params, norms) == pytest.approx(unusual)
    assert compared(net, params[:2], [1.0, 100.0]) == {}
