"""Write the nets of the small run: a small GoogLeNet with bvlc_googlenet's layer names.

    python prototxt/glyphs280/make_net.py [--out DIR]

base_train_val.prototxt learns the base's 280 glyphs from scratch; all its layers have bvlc_googlenet's names.
train_val.prototxt fine-tunes from it: its three classifiers are renamed, so that `--weights` does not copy them, and
learn ten times as fast as the layers that are copied.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import caffe
from caffe import layers as L
from caffe import params as P
from caffe.net_spec import NetSpec, Top
from caffe.proto.caffe_pb2 import NetParameter
from google.protobuf import text_format

from prototxt.net_parts import CLASSES, COPIED, NEW, Widths, data_layer, train_val

HERE = Path(__file__).resolve().parent

FOLDER = "prototxt/glyphs280"  # relative to the repository, where `caffe train` is started
TRANSFORM = {"crop_size": 28, "mean_value": 64, "scale": 1 / 64}

MSRA = {"type": "msra"}


class Recipe(NamedTuple):
    """The differences between the base net and the fine-tuned net."""

    name: str
    data: str
    classifier: str
    param: list[dict[str, int]]
    filler: Mapping[str, object]


NETS = {
    "train_val.prototxt": Recipe("GlyphNet280", "data", "classifier_glyphs", NEW, {"type": "gaussian", "std": 0.01}),
    "base_train_val.prototxt": Recipe("GlyphNet280_base", "base_data", "classifier", COPIED, {"type": "xavier"}),
}


def fillers(weight: Mapping[str, object]) -> dict[str, object]:
    return {"weight_filler": weight, "bias_filler": {"type": "constant", "value": 0}}


def convolution(net: NetSpec, name: str, bottom: Top, channels: int, kernel: int, relu: str) -> Top:
    """Add a convolution that keeps the height and width, and its ReLU, with the name that bvlc_googlenet gives it."""
    shape = {"num_output": channels, "kernel_size": kernel, "pad": kernel // 2}
    net[name] = L.Convolution(bottom, param=COPIED, **shape, **fillers(MSRA))
    net[relu] = L.ReLU(net[name], in_place=True)
    return net[name]


def pool(net: NetSpec, name: str, bottom: Top, method: int, kernel: int, stride: int, pad: int = 0) -> Top:
    net[name] = L.Pooling(bottom, pool=method, kernel_size=kernel, stride=stride, pad=pad)
    return net[name]


def inception(net: NetSpec, stage: str, bottom: Top, width: Widths) -> Top:
    """Add inception_<stage>: four parallel branches, concatenated along the channels."""
    prefix = f"inception_{stage}"

    def branch(name: str, source: Top, channels: int, kernel: int) -> Top:
        return convolution(net, f"{prefix}/{name}", source, channels, kernel, f"{prefix}/relu_{name}")

    one = branch("1x1", bottom, width.one, 1)
    three = branch("3x3", branch("3x3_reduce", bottom, width.reduce3, 1), width.three, 3)
    five = branch("5x5", branch("5x5_reduce", bottom, width.reduce5, 1), width.five, 5)
    pooled = branch("pool_proj", pool(net, f"{prefix}/pool", bottom, P.Pooling.MAX, 3, 1, 1), width.pool, 1)
    net[f"{prefix}/output"] = L.Concat(one, three, five, pooled)
    return net[f"{prefix}/output"]


def head(net: NetSpec, prefix: str, features: Top, loss: str, top: str, weight: float, recipe: Recipe) -> None:
    """Add a classifier with its loss (layer `loss`, blob `top`) and, in TEST, its top-1 and top-5 accuracy."""
    scores = net[f"{prefix}/{recipe.classifier}"] = L.InnerProduct(
        features, num_output=CLASSES, param=recipe.param, **fillers(recipe.filler)
    )
    net[f"{prefix}/{top}"] = L.SoftmaxWithLoss(scores, net.label, name=f"{prefix}/{loss}", loss_weight=weight)
    for k in (1, 5):
        net[f"{prefix}/top-{k}"] = L.Accuracy(scores, net.label, top_k=k, include={"phase": caffe.TEST})


def auxiliary(net: NetSpec, prefix: str, bottom: Top, recipe: Recipe) -> None:
    """Add an auxiliary head: pooling, 1x1 convolution, a hidden layer, dropout, a classifier."""
    pooled = pool(net, f"{prefix}/ave_pool", bottom, P.Pooling.AVE, 5, 3)
    conv = convolution(net, f"{prefix}/conv", pooled, 32, 1, f"{prefix}/relu_conv")
    hidden = net[f"{prefix}/fc"] = L.InnerProduct(conv, num_output=96, param=COPIED, **fillers(MSRA))
    net[f"{prefix}/relu_fc"] = L.ReLU(hidden, in_place=True)
    net[f"{prefix}/drop_fc"] = L.Dropout(hidden, in_place=True, dropout_ratio=0.3)
    head(net, prefix, hidden, "loss", "loss1", 0.3, recipe)


def trunk_and_heads(net: NetSpec, recipe: Recipe) -> None:
    stem = convolution(net, "conv1/3x3_s1", net.data, 24, 3, "conv1/relu_3x3")
    stage3 = inception(net, "3a", pool(net, "pool1/3x3_s2", stem, P.Pooling.MAX, 3, 2), Widths(16, 16, 32, 4, 8, 8))
    stage4 = inception(net, "4a", pool(net, "pool3/3x3_s2", stage3, P.Pooling.MAX, 3, 2), Widths(32, 24, 48, 8, 16, 16))
    auxiliary(net, "loss1", stage3, recipe)
    auxiliary(net, "loss2", stage4, recipe)
    stage5 = inception(net, "5a", pool(net, "pool4/3x3_s2", stage4, P.Pooling.MAX, 3, 2), Widths(48, 32, 80, 8, 16, 16))
    features = pool(net, "pool5/3x3_s1", stage5, P.Pooling.AVE, 3, 1)
    net["pool5/drop_3x3_s1"] = L.Dropout(features, in_place=True, dropout_ratio=0.2)
    head(net, "loss3", features, "loss3", "loss3", 1, recipe)


def glyph_net(recipe: Recipe) -> NetParameter:
    folder = f"{FOLDER}/{recipe.data}"
    net = data_layer(caffe.TRAIN, folder, TRANSFORM)
    trunk_and_heads(net, recipe)
    return train_val(recipe.name, net, data_layer(caffe.TEST, folder, TRANSFORM))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write train_val.prototxt and base_train_val.prototxt.")
    parser.add_argument("--out", type=Path, default=HERE, metavar="DIR", help="default: next to this script")
    out = parser.parse_args().out
    for name, recipe in NETS.items():
        (out / name).write_text(text_format.MessageToString(glyph_net(recipe)))


if __name__ == "__main__":
    main()
