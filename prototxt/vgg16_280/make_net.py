"""Write the control net of the question: VGG-16 for 280 classes, on the LMDBs of prototxt/googlenet280.

    python prototxt/vgg16_280/make_net.py [--out DIR]

Configuration D of Simonyan and Zisserman, arXiv:1409.1556, table 1: 13 convolutions of 3×3 and three fully connected
layers. The layers have the names of the public VGG_ILSVRC_16_layers.caffemodel, so that it is copied by name; the
classifier has another name, so that `--weights` does not copy it, and learns ten times as fast.
"""

import argparse
from pathlib import Path

import caffe
from caffe import layers as L
from caffe import params as P
from caffe.net_spec import NetSpec, Top
from caffe.proto.caffe_pb2 import NetParameter
from google.protobuf import text_format

from prototxt.net_parts import CLASSES, COPIED, NEW, data_layer, train_val

HERE = Path(__file__).resolve().parent

DATA = "prototxt/googlenet280/data"  # the control learns from the same records, in the same order
CLASSIFIER = "fc8_280"  # the public one is called `fc8`
MEAN = [
    103.939,
    116.779,
    123.68,
]  # of blue, green, red: what the public weights were trained with

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # channels between two poolings


def fillers() -> dict[str, object]:
    """Return the fillers of Glorot and Bengio, with which no shallower net has to be trained first (section 3.1)."""
    return {"weight_filler": {"type": "xavier"}, "bias_filler": {"type": "constant", "value": 0}}


def convolutions(net: NetSpec, stage: int, bottom: Top, widths: tuple[int, ...]) -> Top:
    """Add convolutions that keep the height and width, each with its ReLU, and a pooling that halves both."""
    for number, channels in enumerate(widths, 1):
        name = f"{stage}_{number}"
        net[f"conv{name}"] = L.Convolution(bottom, param=COPIED, num_output=channels, kernel_size=3, pad=1, **fillers())
        net[f"relu{name}"] = L.ReLU(net[f"conv{name}"], in_place=True)
        bottom = net[f"conv{name}"]
    net[f"pool{stage}"] = L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    return net[f"pool{stage}"]


def hidden(net: NetSpec, number: int, bottom: Top) -> Top:
    """Add a fully connected layer with its ReLU and dropout (0.5, as in section 3.1 of the paper)."""
    top = net[f"fc{number}"] = L.InnerProduct(bottom, param=COPIED, num_output=4096, **fillers())
    net[f"relu{number}"] = L.ReLU(top, in_place=True)
    net[f"drop{number}"] = L.Dropout(top, in_place=True, dropout_ratio=0.5)
    return top


def images(phase: int) -> NetSpec:
    transform = {"mirror": phase == caffe.TRAIN, "crop_size": 224, "mean_value": MEAN}
    return data_layer(phase, DATA, transform)


def vgg16() -> NetParameter:
    net = images(caffe.TRAIN)
    top = net.data
    for stage, widths in enumerate(STAGES, 1):
        top = convolutions(net, stage, top, widths)
    top = hidden(net, 7, hidden(net, 6, top))
    scores = net[CLASSIFIER] = L.InnerProduct(top, param=NEW, num_output=CLASSES, **fillers())
    net["loss"] = L.SoftmaxWithLoss(scores, net.label)
    net["top-1"] = L.Accuracy(scores, net.label, include={"phase": caffe.TEST})
    net["top-5"] = L.Accuracy(scores, net.label, include={"phase": caffe.TEST}, top_k=5)
    return train_val("VGG16_280", net, images(caffe.TEST))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write train_val.prototxt.")
    parser.add_argument("--out", type=Path, default=HERE, metavar="DIR", help="default: next to this script")
    (parser.parse_args().out / "train_val.prototxt").write_text(text_format.MessageToString(vgg16()))


if __name__ == "__main__":
    main()
