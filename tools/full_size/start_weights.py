"""Make weights with which googlenet280 is healthy at once, without days of training.

    python -m tools.full_size.start_weights LMDB OUT.caffemodel

Convolutions get random orthogonal weights in the middle of their kernels, and what they compute is brought to a given
mean and deviation in one batch, so that signals and gradients neither vanish nor explode (delta-orthogonal weights:
Xiao et al., ICML 2018; data-dependent initialisation: Krähenbühl et al., ICLR 2016). The three classifiers are then
fitted to the features of the first images of LMDB: a softmax regression, with the dropout that the net has.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import caffe
import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray

from harness.caffe_files.messages import pb
from tools.bench.nets import ROOT

Floats = NDArray[np.float32]

SEED = 280
BATCHES = 44  # of images to whose features the classifiers are fitted
SHIFT = 0.8  # mean of the pre-activations, in standard deviations: most ReLUs are active
FIRST, LAST = 100.0, 0.4  # standard deviation of the pre-activations of conv1 and of inception_5b
HEAD = 0.4  # that of the layers before the classifiers of loss1 and loss2
SURE = 2.0  # times the fitted classifiers: a net that is surer of what it has learned has smaller gradients
HEADS = {"loss1": ("loss1/fc", 0.7), "loss2": ("loss2/fc", 0.7), "loss3": ("pool5/7x7_s1", 0.4)}  # features, dropout
MODULES = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")


def net_without_dropout(source: Path) -> Any:
    """Return the train net of googlenet280 that reads `source`, without dropout and accuracies."""
    net = text_format.Parse((ROOT / "prototxt/googlenet280/train_val.prototxt").read_text(), pb.NetParameter())
    kept = [
        layer
        for layer in net.layer
        if layer.type not in ("Dropout", "Accuracy") and not any(rule.phase == pb.TEST for rule in layer.include)
    ]
    del net.layer[:]
    net.layer.extend(kept)
    net.layer[0].data_param.source = str(source)
    return net


def deviation(layer: str) -> float:
    """Return the standard deviation that the pre-activations of a layer get; it falls from layer to layer."""
    if layer.startswith(("loss1", "loss2")):
        return HEAD
    if layer.startswith("conv"):
        depth = {"conv1/7x7_s2": 0, "conv2/3x3_reduce": 1, "conv2/3x3": 2}[layer]
    else:
        module = layer.removeprefix("inception_").partition("/")[0]
        depth = 3 + 2 * MODULES.index(module) + (not layer.endswith("_reduce"))
    return float(FIRST * (LAST / FIRST) ** (depth / 20))


def orthogonal(rows: int, columns: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Draw a matrix whose rows, or columns if they are fewer, are orthogonal unit vectors."""
    q, _ = np.linalg.qr(random.standard_normal((max(rows, columns), min(rows, columns))))
    return q if rows >= columns else q.T


def calibrate(net: Any, message: Any, random: np.random.Generator) -> None:
    """Give the layers of `net` weights, from the first to the last, on one batch."""
    learning = {
        layer.name: layer
        for layer in message.layer
        if layer.type in ("Convolution", "InnerProduct") and "classifier" not in layer.name
    }
    for number, name in enumerate(net._layer_names):
        layer = learning.get(name)
        if layer is not None and layer.type == "Convolution" and name != "conv1/7x7_s2":
            weight = net.params[name][0].data
            middle = weight.shape[2] // 2
            weight[...] = 0
            weight[:, :, middle, middle] = orthogonal(weight.shape[0], weight.shape[1], random)
        net._forward(number, number)
        if layer is not None:
            top = net.blobs[layer.top[0]].data
            axes = (0, 2, 3)[: 1 + max(0, top.ndim - 2)]
            goal = deviation(name)
            scale = goal / (top.std(axes, dtype=np.float64) + 1e-5)
            weight, bias = (blob.data for blob in net.params[name])
            weight *= scale.reshape(-1, *[1] * (weight.ndim - 1)).astype(np.float32)
            bias[...] = (bias - top.mean(axes, dtype=np.float64)) * scale + SHIFT * goal
            net._forward(number, number)


def fit(features: Floats, labels: NDArray[np.int64], classes: int, dropout: float, seed: int) -> tuple[Floats, Floats]:
    """Fit weight (classes, channels) and bias (classes,) by softmax regression with Adam, under dropout."""
    random = np.random.default_rng(seed)
    unit = float(features.std(0).mean())
    steps, batch, decay = 600, 256, 3e-4
    weight, bias = np.zeros((classes, features.shape[1]), np.float32), np.zeros(classes, np.float32)
    state = [(values, np.zeros_like(values), np.zeros_like(values)) for values in (weight, bias)]
    for step in range(1, steps + 1):
        chosen = random.integers(0, len(labels), batch)
        kept = random.random((batch, features.shape[1]), dtype=np.float32) > dropout
        inputs = features[chosen] * kept / np.float32((1 - dropout) * unit)
        scores = inputs @ weight.T + bias
        scores = np.exp(scores - scores.max(1, keepdims=True))
        error = scores / scores.sum(1, keepdims=True)
        error[np.arange(batch), labels[chosen]] -= 1
        error /= batch
        rate = 3e-3 * min(1.0, 2 * (1 - (step - 1) / steps))
        gradients = (error.T @ inputs + decay * weight, error.sum(0))
        for (values, mean, square), gradient in zip(state, gradients, strict=True):
            mean += 0.1 * (gradient - mean)
            square += 0.01 * (gradient**2 - square)
            values -= rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
    return weight / np.float32(unit), bias


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="LMDB")
    parser.add_argument("out", type=Path, metavar="OUT.caffemodel")
    args = parser.parse_args()
    source, out = args.source, args.out
    random = np.random.default_rng(SEED)
    caffe.init_log(2, True)
    caffe.set_random_seed(SEED)
    message = net_without_dropout(source)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        file = Path(scratch, "net.prototxt")
        file.write_text(text_format.MessageToString(message))
        net = caffe.Net(str(file), caffe.TRAIN)
        calibrate(net, message, random)
        features: dict[str, list[Floats]] = {head: [] for head in HEADS}
        labels = []
        for number in range(BATCHES):
            if number:  # the first batch has passed
                net.forward()
            labels.append(net.blobs["label"].data.astype(np.int64))
            for head, (blob, _) in HEADS.items():
                features[head].append(net.blobs[blob].data.reshape(len(labels[-1]), -1).copy())
        for number, (head, (_, dropout)) in enumerate(HEADS.items()):
            weight, bias = net.params[f"{head}/classifier_280"]
            inputs, classes = np.concatenate(features[head]), len(bias.data)
            fitted = fit(inputs, np.concatenate(labels), classes, dropout, number)
            weight.data[...], bias.data[...] = (np.float32(SURE) * values for values in fitted)
        fresh = Path(scratch, "fresh.caffemodel")
        net.save(str(fresh))
        os.replace(fresh, out)


if __name__ == "__main__":
    main()
