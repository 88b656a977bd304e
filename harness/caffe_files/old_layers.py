"""Convert the layers of a net in the format before 2014 (`layers`), as far as they tell what a net learns.

Caffe's own upgrade (UpgradeV1LayerParameter, upgrade_proto.cpp) makes nets that can be trained; this needs no Caffe.
"""

from __future__ import annotations

from harness.caffe_files.messages import has_field, pb

_ABBREVIATIONS = ("BNLL", "LRN", "MVN", "HDF5")
# Types whose names are not their words in capitals: UpgradeV1LayerType.
_NAMES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "RELU": "ReLU",
    "TANH": "TanH",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "IM2COL": "Im2col",
}
_MESSAGES = ("inner_product_param", "convolution_param", "softmax_param", "loss_param", "accuracy_param")
_SOURCES = ("data_param", "image_data_param", "hdf5_data_param", "window_data_param", "memory_data_param")


def with_new_layers(net: pb.NetParameter) -> pb.NetParameter:
    """Return `net` with each of its `layers` as a `layer`: name, type, blobs, rules, and the number of outputs."""
    if net.layer or not net.layers:
        return net
    new = pb.NetParameter()
    new.CopyFrom(net)
    new.layer.extend(_converted(layer) for layer in net.layers)
    del new.layers[:]
    return new


def _converted(old: pb.V1LayerParameter) -> pb.LayerParameter:
    new = pb.LayerParameter(name=old.name, type=_type(old), bottom=old.bottom, top=old.top)
    new.loss_weight.extend(old.loss_weight)
    new.include.extend(old.include)
    new.exclude.extend(old.exclude)
    for name in (*_MESSAGES, *_SOURCES):
        if has_field(old, name):
            getattr(new, name).CopyFrom(getattr(old, name))
    return new


def _type(old: pb.V1LayerParameter) -> str:
    """Return the name of a layer's type: that of EUCLIDEAN_LOSS is EuclideanLoss."""
    name = pb.V1LayerParameter.LayerType.Name(old.type)
    words = (word if word in _ABBREVIATIONS else word.capitalize() for word in name.split("_"))
    return _NAMES.get(name, "".join(words))
