"""Properties of layer types: the messages that configure a layer, and the blobs that it learns.

The types are those registered in src/caffe/layers and layer_factory.cpp of BVLC Caffe.
"""

from __future__ import annotations

from harness.caffe_files.messages import pb

# All types in the registry of the build (caffe.layer_type_list()); some come without a file of their own.
LAYER_TYPES = frozenset((
    "AbsVal", "Accuracy", "ArgMax", "BNLL", "BatchNorm", "BatchReindex", "Bias", "Clip", "Concat",
    "ContrastiveLoss", "Convolution", "Crop", "Data", "Deconvolution", "Dropout", "DummyData", "ELU", "Eltwise",
    "Embed", "EuclideanLoss", "Exp", "Filter", "Flatten", "HDF5Data", "HDF5Output", "HingeLoss", "Im2col",
    "ImageData", "InfogainLoss", "InnerProduct", "Input", "LRN", "LSTM", "LSTMUnit", "Log", "MVN", "MemoryData",
    "MultinomialLogisticLoss", "PReLU", "Parameter", "Pooling", "Power", "Python", "RNN", "ReLU", "Reduction",
    "Reshape", "SPP", "Scale", "Sigmoid", "SigmoidCrossEntropyLoss", "Silence", "Slice", "Softmax",
    "SoftmaxWithLoss", "Split", "Swish", "TanH", "Threshold", "Tile", "WindowData",
))  # fmt: skip
FILLERS = ("constant", "gaussian", "positive_unitball", "uniform", "xavier", "msra", "bilinear")  # filler.hpp

# Data layers whose position can be read and set (replay): those of images, of windows in images, and of rows.
IMAGES, WINDOWS, ROWS = ("Data", "ImageData"), ("WindowData",), ("HDF5Data",)
TRANSFORMED = (*IMAGES, *WINDOWS, "MemoryData")  # layers that heed transform_param
_WITHOUT_DATA = ("DummyData", "Input", "Parameter")  # what they give depends on no position in any data

_LOSS, _TRANSFORM = ("loss_param",), ("transform_param",)

# Messages that a layer reads besides, or instead of, the one named after its type.
_ALSO: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("Data", "ImageData", "WindowData", "MemoryData"), _TRANSFORM),
    **dict.fromkeys(("EuclideanLoss", "HingeLoss", "ContrastiveLoss", "MultinomialLogisticLoss"), _LOSS),
    **dict.fromkeys(("SoftmaxWithLoss", "InfogainLoss"), ("softmax_param", *_LOSS)),
    **dict.fromkeys(("SigmoidCrossEntropyLoss",), ("sigmoid_param", *_LOSS)),
    **dict.fromkeys(("Deconvolution", "Im2col"), ("convolution_param",)),
    **dict.fromkeys(("LSTM", "RNN"), ("recurrent_param",)),
    **dict.fromkeys(("AbsVal", "BatchReindex", "BNLL", "Filter", "LSTMUnit", "Silence", "Split"), ()),
}
_OWN = {
    name.removesuffix("_param").replace("_", ""): name
    for name in pb.LayerParameter.DESCRIPTOR.fields_by_name
    if name.endswith("_param") and name not in _LOSS + _TRANSFORM
}


def param_specs(layer: pb.LayerParameter) -> list[pb.ParamSpec]:
    """List the specs of a layer's param blobs as Caffe has them once it is set up; blobs beyond have the defaults.

    BatchNorm's running averages are never learned: where the net says nothing of one, the layer adds lr_mult 0
    (batch_norm_layer.cpp); where it has specs for all three, as nets of old versions must, Caffe clears them
    (UpgradeNetBatchNorm, upgrade_proto.cpp).
    """
    specs = list(layer.param)
    if layer.type != "BatchNorm":
        return specs
    if len(specs) == 3:
        return [pb.ParamSpec(name=spec.name, lr_mult=0, decay_mult=0) for spec in specs]
    return specs + [pb.ParamSpec(lr_mult=0)] * (3 - len(specs))


def is_known(kind: str) -> bool:
    """Check whether `kind` is a type of BVLC Caffe whose blobs and messages are known; those of Python are not."""
    return kind in _ALSO or (kind.lower() in _OWN and kind != "Python")


def is_input_without_position(layer: pb.LayerParameter) -> bool:
    """Check whether `layer` brings data into its net whose position can neither be read nor set."""
    return not layer.bottom and layer.type not in IMAGES + WINDOWS + ROWS + _WITHOUT_DATA


def parameters(layer: pb.LayerParameter) -> list[str]:
    """List the `*_param` fields of LayerParameter that apply to `layer`: those of its type, and those set."""
    own = _OWN.get(layer.type.lower())
    names = [own] if own else []
    names += _ALSO.get(layer.type, ())
    names += [field.name for field, _ in layer.ListFields() if field.name.endswith("_param")]
    return list(dict.fromkeys(names))


def blob_count(layer: pb.LayerParameter) -> int | None:
    """Count the blobs that `layer` learns, the most `param` that Caffe accepts; None if the type is not known.

    BatchNorm's three running averages do not count: Caffe aborts if their lr_mult is not 0.
    """
    match layer.type:
        case "InnerProduct":
            return 1 + int(layer.inner_product_param.bias_term)
        case "Convolution" | "Deconvolution":
            return 1 + int(layer.convolution_param.bias_term)
        case "Embed":
            return 1 + int(layer.embed_param.bias_term)
        case "Scale":  # a second bottom is the scale (scale_layer.cpp)
            return int(len(layer.bottom) == 1) + int(layer.scale_param.bias_term)
        case "Bias":
            return int(len(layer.bottom) == 1)
        case "PReLU" | "Parameter":
            return 1
        case "LSTM" | "RNN":
            return None
    return 0 if is_known(layer.type) else None
