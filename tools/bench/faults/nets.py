"""The nets of the planted faults, with the settings at which they train well."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format

from harness.caffe_files.messages import parse_text, pb
from tools.bench.faults.data import Record, generated, glyphs
from tools.bench.nets import GLYPHS

_LENET = """name: "LeNet"
layer { name: "data" type: "Data" top: "data" top: "label" transform_param { scale: 0.00390625 }
  data_param { batch_size: 16 backend: LMDB } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 } param { lr_mult: 1 }
  convolution_param { num_output: 8 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  param { lr_mult: 1 } param { lr_mult: 1 }
  convolution_param { num_output: 16 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool2" top: "ip1"
  param { lr_mult: 1 } param { lr_mult: 1 }
  inner_product_param { num_output: 48 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  param { lr_mult: 1 } param { lr_mult: 1 }
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
# A residual block with BatchNorm in its branch: values of any size still pass by it.
_BATCHNORM = """name: "batchnorm"
layer { name: "data" type: "Data" top: "data" top: "label" transform_param { scale: 0.015625 mean_value: 128 }
  data_param { batch_size: 16 backend: LMDB } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 } param { lr_mult: 1 }
  convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  param { lr_mult: 1 }
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 bias_term: false weight_filler { type: "msra" } } }
layer { name: "bn2" type: "BatchNorm" bottom: "conv2" top: "bn2" param { lr_mult: 0 decay_mult: 0 }
  param { lr_mult: 0 decay_mult: 0 } param { lr_mult: 0 decay_mult: 0 } }
layer { name: "scale2" type: "Scale" bottom: "bn2" top: "bn2" scale_param { bias_term: true } }
layer { name: "sum" type: "Eltwise" bottom: "pool1" bottom: "bn2" top: "sum" }
layer { name: "relu2" type: "ReLU" bottom: "sum" top: "sum" }
layer { name: "pool2" type: "Pooling" bottom: "sum" top: "pool2"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool2" top: "ip1"
  param { lr_mult: 1 } param { lr_mult: 1 }
  inner_product_param { num_output: 32 weight_filler { type: "msra" } } }
layer { name: "relu3" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  param { lr_mult: 1 } param { lr_mult: 1 }
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""


@dataclass(frozen=True)
class Net:
    """A net, its data, and the settings at which it trains well.

    Attributes:
        layers: those whose learning rate a fault may raise.
        text: of the net; its data layer names no data set.
        records: returns as many of the data set as are asked for, different ones for each seed.
        chance: the loss at chance level, all heads together.
        iterations: of a run.
        rate, momentum, decay: the usual ones.
        edge: times the usual rate; somewhere above, training becomes unstable.
        breaks_while_learning: the layers of which a rate that is too high breaks the net only while it learns, so that
            training has to start from the fillers; empty if each layer's breaks it later as well.
        horizon: iterations of replays that tell what heals.
        weights: that training starts from, if nothing else is said; None for the fillers.
        warm_up: iterations of the training whose last weights all others continue from; 0 for a net that learns within
            a run. With it, an iteration is expensive: strengths are bisected.
    """

    name: str
    layers: tuple[str, ...]
    text: str
    records: Callable[[int, int], list[Record]]
    chance: float
    batch: int = 16
    classes: int = 10
    iterations: int = 400
    snapshot_every: int = 40
    rate: float = 0.02
    momentum: float = 0.9
    decay: float = 0.0005
    weights: Path | None = None
    warm_up: int = 0
    edge: float = 1.2
    breaks_while_learning: tuple[str, ...] = ()
    horizon: int = 150

    def prototxt(self, source: Path, factors: Mapping[str, float]) -> str:
        """Return the net that reads `source`, with the learning rates of some layers multiplied."""
        net = parse_text(self.text, pb.NetParameter, Path(self.name))
        for layer in net.layer:
            if layer.type == "Data":
                layer.data_param.source = str(source)
            for param in layer.param:
                param.lr_mult *= factors.get(layer.name, 1.0)
        return text_format.MessageToString(net)

    def lr_mult(self, layer: str) -> list[float]:
        """Return the usual lr_mult of each param blob of a layer."""
        net = parse_text(self.text, pb.NetParameter, Path(self.name))
        return [param.lr_mult for found in net.layer if found.name == layer for param in found.param]


def _glyphs280() -> str:
    """Return prototxt/glyphs280 without its test nets' layers."""
    path = GLYPHS / "train_val.prototxt"
    net = parse_text(path.read_text(), pb.NetParameter, path)
    kept = [layer for layer in net.layer if not any(rule.phase == pb.TEST for rule in layer.include)]
    trained = pb.NetParameter(name=net.name, layer=kept)
    return text_format.MessageToString(trained)


_SMALL = ("conv1", "conv2", "ip1", "ip2")
NETS = {
    net.name: net
    for net in (
        Net("lenet", _SMALL, _LENET, generated, math.log(10)),
        Net("batchnorm", _SMALL, _BATCHNORM, generated, math.log(10), edge=3.0, breaks_while_learning=("conv1",)),
        Net(
            "glyphs280",
            ("conv1/3x3_s1", "inception_5a/3x3", "loss3/classifier_glyphs"),
            _glyphs280(),
            glyphs,
            1.6 * math.log(280),
            batch=32,
            classes=280,
            rate=0.005,
            decay=0.0002,
            iterations=240,
            weights=GLYPHS / "base.caffemodel",
            warm_up=800,
            edge=4.0,
            horizon=60,
        ),
    )
}
