"""Write the full-size net of the question: bvlc_googlenet with its three classifiers renamed, for 280 classes.

    python prototxt/googlenet280/make_net.py [--out DIR]

Layers, shapes, names and fillers are those of `models/bvlc_googlenet/train_val.prototxt` in Caffe's source, so that the
public bvlc_googlenet.caffemodel is copied by name; the net is that of Szegedy et al., arXiv:1409.4842. The classifiers
have other names, so that `--weights` does not copy them, and learn ten times as fast as the layers that are copied.
"""

import argparse
from pathlib import Path

import caffe
from caffe import layers as L
from caffe import params as P
from caffe.net_spec import NetSpec, Top
from caffe.proto.caffe_pb2 import NetParameter
from google.protobuf import text_format

from prototxt.net_parts import CLASSES, COPIED, NEW, Widths, data_layer, train_val

HERE = Path(__file__).resolve().parent

DATA = "prototxt/googlenet280/data"  # relative to the repository, where training is started
CLASSIFIER = "classifier_280"  # bvlc_googlenet's are called `classifier`
MEAN = [104, 117, 123]  # of ImageNet's blue, green, red

INCEPTION = {
    "3a": Widths(64, 96, 128, 16, 32, 32),
    "3b": Widths(128, 128, 192, 32, 96, 64),
    "4a": Widths(192, 96, 208, 16, 48, 64),
    "4b": Widths(160, 112, 224, 24, 64, 64),
    "4c": Widths(128, 128, 256, 24, 64, 64),
    "4d": Widths(112, 144, 288, 32, 64, 64),
    "4e": Widths(256, 160, 320, 32, 128, 128),
    "5a": Widths(256, 160, 320, 32, 128, 128),
    "5b": Widths(384, 192, 384, 48, 128, 128),
}


def fillers(bias: float) -> dict[str, object]:
    return {"weight_filler": {"type": "xavier"}, "bias_filler": {"type": "constant", "value": bias}}


def convolution(net: NetSpec, name: str, bottom: Top, channels: int, kernel: int, stride: int = 1) -> Top:
    """Add a convolution and its ReLU, `stage/relu_NAME`; at stride 1 it keeps the height and width."""
    shape: dict[str, int] = {"num_output": channels, "kernel_size": kernel}
    if kernel > 1:
        shape["pad"] = kernel // 2
    if stride > 1:
        shape["stride"] = stride
    net[name] = L.Convolution(bottom, param=COPIED, **shape, **fillers(0.2))
    stage, _, rest = name.partition("/")
    net[f"{stage}/relu_{rest.removesuffix('_s2')}"] = L.ReLU(net[name], in_place=True)
    return net[name]


def pool(net: NetSpec, name: str, bottom: Top, method: int, kernel: int, stride: int, **pad: int) -> Top:
    net[name] = L.Pooling(bottom, pool=method, kernel_size=kernel, stride=stride, **pad)
    return net[name]


def normalised(net: NetSpec, name: str, bottom: Top) -> Top:
    net[name] = L.LRN(bottom, local_size=5, alpha=0.0001, beta=0.75)
    return net[name]


def inception(net: NetSpec, stage: str, bottom: Top) -> Top:
    """Add inception_<stage>: four parallel branches, concatenated along the channels."""
    prefix, width = f"inception_{stage}", INCEPTION[stage]
    one = convolution(net, f"{prefix}/1x1", bottom, width.one, 1)
    reduced = convolution(net, f"{prefix}/3x3_reduce", bottom, width.reduce3, 1)
    three = convolution(net, f"{prefix}/3x3", reduced, width.three, 3)
    reduced = convolution(net, f"{prefix}/5x5_reduce", bottom, width.reduce5, 1)
    five = convolution(net, f"{prefix}/5x5", reduced, width.five, 5)
    pooled = pool(net, f"{prefix}/pool", bottom, P.Pooling.MAX, 3, 1, pad=1)
    projected = convolution(net, f"{prefix}/pool_proj", pooled, width.pool, 1)
    net[f"{prefix}/output"] = L.Concat(one, three, five, projected)
    return net[f"{prefix}/output"]


def head(net: NetSpec, prefix: str, features: Top, loss: str, top: str, weight: float) -> None:
    """Add a classifier with its loss (layer `loss`, blob `top`) and, in TEST, its top-1 and top-5 accuracy."""
    scores = net[f"{prefix}/{CLASSIFIER}"] = L.InnerProduct(features, param=NEW, num_output=CLASSES, **fillers(0))
    net[f"{prefix}/{top}"] = L.SoftmaxWithLoss(scores, net.label, name=f"{prefix}/{loss}", loss_weight=weight)
    net[f"{prefix}/top-1"] = L.Accuracy(scores, net.label, include={"phase": caffe.TEST})
    net[f"{prefix}/top-5"] = L.Accuracy(scores, net.label, include={"phase": caffe.TEST}, top_k=5)


def auxiliary(net: NetSpec, prefix: str, bottom: Top) -> None:
    """Add an auxiliary head, as at the end of section 5 of the paper; its loss has weight 0.3."""
    pooled = pool(net, f"{prefix}/ave_pool", bottom, P.Pooling.AVE, 5, 3)
    features = convolution(net, f"{prefix}/conv", pooled, 128, 1)
    hidden = net[f"{prefix}/fc"] = L.InnerProduct(features, param=COPIED, num_output=1024, **fillers(0.2))
    net[f"{prefix}/relu_fc"] = L.ReLU(hidden, in_place=True)
    net[f"{prefix}/drop_fc"] = L.Dropout(hidden, in_place=True, dropout_ratio=0.7)
    # the log of the question has loss2/loss1; in Caffe 1.0's net it is loss2/loss2
    head(net, prefix, hidden, "loss", "loss1", 0.3)


def images(phase: int) -> NetSpec:
    transform = {"mirror": phase == caffe.TRAIN, "crop_size": 224, "mean_value": MEAN}
    return data_layer(phase, DATA, transform)


def trunk_and_heads(net: NetSpec) -> None:
    top = pool(net, "pool1/3x3_s2", convolution(net, "conv1/7x7_s2", net.data, 64, 7, 2), P.Pooling.MAX, 3, 2)
    top = convolution(net, "conv2/3x3_reduce", normalised(net, "pool1/norm1", top), 64, 1)
    top = normalised(net, "conv2/norm2", convolution(net, "conv2/3x3", top, 192, 3))
    top = pool(net, "pool2/3x3_s2", top, P.Pooling.MAX, 3, 2)
    for stage in INCEPTION:
        top = inception(net, stage, top)
        match stage:
            case "3b":
                top = pool(net, "pool3/3x3_s2", top, P.Pooling.MAX, 3, 2)
            case "4a":
                auxiliary(net, "loss1", top)
            case "4d":
                auxiliary(net, "loss2", top)
            case "4e":
                top = pool(net, "pool4/3x3_s2", top, P.Pooling.MAX, 3, 2)
    features = pool(net, "pool5/7x7_s1", top, P.Pooling.AVE, 7, 1)
    net["pool5/drop_7x7_s1"] = L.Dropout(features, in_place=True, dropout_ratio=0.4)
    head(net, "loss3", features, "loss3", "loss3", 1)


def googlenet() -> NetParameter:
    net = images(caffe.TRAIN)
    trunk_and_heads(net)
    return train_val("GoogleNet280", net, images(caffe.TEST))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write train_val.prototxt.")
    parser.add_argument("--out", type=Path, default=HERE, metavar="DIR", help="default: next to this script")
    (parser.parse_args().out / "train_val.prototxt").write_text(text_format.MessageToString(googlenet()))


if __name__ == "__main__":
    main()
