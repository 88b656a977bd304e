"""Check the fields of layers for values at which Caffe is known to abort while it builds a net.

Only what the prototxt alone tells is checked, and nothing that Caffe may train: where a check needs the shape of a
bottom, building the net decides (`build_failure.py`). Sources are in src/caffe/layers unless another is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.caffe_files.layer_types import FILLERS, LAYER_TYPES, TRANSFORMED
from harness.caffe_files.messages import has_field, pb
from harness.caffe_files.net import NetFile
from harness.errors import BadInput, nearest

_LARGEST_INT = (1 << 31) - 1
Top = tuple[int, int, str]  # the positions of its layer and in it, and its name
Reader = tuple[pb.LayerParameter, int | None]  # a layer, and the position of its bottom


def check_fields(net: NetFile) -> None:
    """Check each layer of `net` by itself.

    Raises:
        BadInput: a type or filler that does not exist; num_output, kernel or window size that no layer can have; fields
            that exclude each other.
    """
    for layer in net.layers:
        where = f"{net.source}: layer {layer.name}"
        _check_type(layer, where)
        _check_num_output(layer, where)
        _check_fillers(layer, where)
        _check_kernel(layer, where)
        _check_transform(layer, where)
        if layer.type == "LRN" and layer.lrn_param.local_size % 2 == 0:  # lrn_layer.cpp
            raise BadInput("must be odd", file=where, field="local_size", value=layer.lrn_param.local_size,
                           remedy=f"Give {layer.lrn_param.local_size + 1}, or leave it out for 5")  # fmt: skip


def check_tops(net: NetFile) -> None:
    """Check that no two layers make a blob of one name (Net::AppendTop in net.cpp).

    A layer may write into its bottom, in place, but only if it is the only layer that reads it there: Caffe gives each
    of several readers a copy of its own (InsertSplits in insert_splits.cpp).

    Raises:
        BadInput: the layer, and the name of the blob.
    """
    made = set(net.param.input)
    for layer in net.layers:
        where = f"{net.source}: layer {layer.name}"
        for position, top in enumerate(layer.top):
            if top in made and not _is_in_place(layer, position):
                raise BadInput("another layer, or another top of this one, makes a blob of that name", file=where,
                               field="top", value=top, remedy="Give each top a name of its own")  # fmt: skip
            made.add(top)
    readers = readers_of(net.layers)
    for (_, _, blob), reading in readers.items():
        for layer, number in reading:
            if len(reading) > 1 and number is not None and list(layer.top[number : number + 1]) == [blob]:
                others = (
                    ", ".join(dict.fromkeys(other.name for other, _ in reading if other is not layer)) or layer.name
                )
                raise BadInput(
                    f"written in place, but not only this layer reads it here: also {others}",
                    file=f"{net.source}: layer {layer.name}",
                    field="top",
                    value=blob,
                    remedy="Give the top another name, or put the other layers after this one",
                )


def _is_in_place(layer: pb.LayerParameter, number: int) -> bool:
    return number < len(layer.bottom) and layer.bottom[number] == layer.top[number]


def readers_of(layers: Sequence[pb.LayerParameter]) -> dict[Top, list[Reader]]:
    """Map each top to its readers. A top with a loss_weight counts as read by its own layer, which is no bottom."""
    source: dict[str, Top] = {}
    readers: dict[Top, list[Reader]] = {}
    for position, layer in enumerate(layers):
        for number, bottom in enumerate(layer.bottom):
            if bottom in source:
                readers.setdefault(source[bottom], []).append((layer, number))
        for number, top in enumerate(layer.top):
            source[top] = (position, number, top)
        for top, weight in zip(layer.top, layer.loss_weight, strict=False):
            if weight:
                readers.setdefault(source[top], []).append((layer, None))
    return readers


def _check_type(layer: pb.LayerParameter, where: str) -> None:
    if layer.type not in LAYER_TYPES:
        known = nearest(layer.type, LAYER_TYPES)
        raise BadInput("no such layer type in this build of Caffe", file=where, field="type", value=layer.type,
                       remedy=known)  # fmt: skip


def _sized(layer: pb.LayerParameter) -> tuple[str, int] | None:
    """Return the field that holds the number of outputs of `layer` and its value, if it has one."""
    match layer.type:
        case "Convolution" | "Deconvolution":  # base_conv_layer.cpp
            return "convolution_param.num_output", layer.convolution_param.num_output
        case "InnerProduct" if not layer.blobs:  # its filler wants a blob that is not empty (filler.hpp)
            return "inner_product_param.num_output", layer.inner_product_param.num_output
        case "Embed":  # embed_layer.cpp
            return "embed_param.num_output", layer.embed_param.num_output
        case "LSTM" | "RNN":
            return "recurrent_param.num_output", layer.recurrent_param.num_output
    return None


def _check_num_output(layer: pb.LayerParameter, where: str) -> None:
    sized = _sized(layer)
    if sized is not None and not 0 < sized[1] <= _LARGEST_INT:
        problem = "must be at least 1" if sized[1] == 0 else f"must be at most {_LARGEST_INT}"
        raise BadInput(problem, file=where, field=sized[0], value=sized[1], remedy="Give the number of outputs")
    if layer.type == "Embed" and not 0 < layer.embed_param.input_dim <= _LARGEST_INT:
        raise BadInput("must be at least 1", file=where, field="embed_param.input_dim",
                       value=layer.embed_param.input_dim, remedy="Give the number of different inputs")  # fmt: skip
    if layer.type in ("Convolution", "Deconvolution"):
        outputs, groups = layer.convolution_param.num_output, layer.convolution_param.group
        if groups == 0 or outputs % groups:
            raise BadInput(f"does not divide num_output ({outputs})", file=where, field="convolution_param.group",
                           value=groups, remedy="Leave it out for 1")  # fmt: skip


def _fillers(layer: pb.LayerParameter) -> Iterator[tuple[str, pb.FillerParameter]]:
    """List the fillers that `layer` uses, with their fields; one that has its blobs in the prototxt uses none."""
    learned = not layer.blobs
    match layer.type:
        case "Convolution" | "Deconvolution" if learned:
            yield "convolution_param.weight_filler", layer.convolution_param.weight_filler
            if layer.convolution_param.bias_term:
                yield "convolution_param.bias_filler", layer.convolution_param.bias_filler
        case "InnerProduct" if learned:
            yield "inner_product_param.weight_filler", layer.inner_product_param.weight_filler
            if layer.inner_product_param.bias_term:
                yield "inner_product_param.bias_filler", layer.inner_product_param.bias_filler
        case "Embed" if learned:
            yield "embed_param.weight_filler", layer.embed_param.weight_filler
            if layer.embed_param.bias_term:
                yield "embed_param.bias_filler", layer.embed_param.bias_filler
        case "PReLU" if learned and layer.prelu_param.HasField("filler"):
            yield "prelu_param.filler", layer.prelu_param.filler
        case "DummyData":
            for number, filler in enumerate(layer.dummy_data_param.data_filler):
                yield f"dummy_data_param.data_filler[{number}]", filler


def _check_fillers(layer: pb.LayerParameter, where: str) -> None:
    for field, filler in _fillers(layer):
        if filler.type not in FILLERS:
            raise BadInput("no such filler", file=where, field=f"{field}.type", value=filler.type,
                           remedy=nearest(filler.type, FILLERS))  # fmt: skip


def _check_kernel(layer: pb.LayerParameter, where: str) -> None:
    if layer.type in ("Convolution", "Deconvolution", "Im2col"):
        conv = layer.convolution_param
        for field, both in (("kernel_size", ("kernel_h", "kernel_w")), ("stride", ("stride_h", "stride_w")),
                            ("pad", ("pad_h", "pad_w"))):  # fmt: skip
            if len(getattr(conv, field)) and any(has_field(conv, name) for name in both):
                _exclude(where, f"convolution_param.{field}", " and ".join(both))
        if conv.HasField("kernel_h") != conv.HasField("kernel_w"):
            _need_both(where, "convolution_param.kernel")
    if layer.type == "Pooling":
        _check_pooling(layer.pooling_param, where)


def _check_pooling(pool: pb.PoolingParameter, where: str) -> None:
    """Check what PoolingLayer::LayerSetUp does (pooling_layer.cpp)."""
    square, tall, wide = pool.HasField("kernel_size"), pool.HasField("kernel_h"), pool.HasField("kernel_w")
    if pool.global_pooling:
        if square or tall or wide:
            _exclude(where, "pooling_param.global_pooling", "a kernel size")
    elif square and tall and wide:
        _exclude(where, "pooling_param.kernel_size", "kernel_h and kernel_w")
    elif not square and not (tall and wide):
        raise BadInput("not given", file=where, field="pooling_param.kernel_size",
                       remedy="Give it, or kernel_h and kernel_w, or global_pooling: true")  # fmt: skip
    elif not all((pool.kernel_size,) if square else (pool.kernel_h, pool.kernel_w)):
        raise BadInput("must be at least 1", file=where, field="pooling_param.kernel_size", value=0,
                       remedy="Give the size of the window")  # fmt: skip
    for field in ("pad", "stride"):
        sides = [has_field(pool, f"{field}_{side}") for side in "hw"]
        if any(sides) and has_field(pool, field):
            _exclude(where, f"pooling_param.{field}", f"{field}_h and {field}_w")
        if any(sides) and not all(sides):
            _need_both(where, f"pooling_param.{field}")


def _exclude(where: str, field: str, other: str) -> None:
    raise BadInput(f"cannot be given together with {other}", file=where, field=field, remedy="Give one of them")


def _need_both(where: str, field: str) -> None:
    raise BadInput(f"{field}_h and {field}_w are given only together", file=where, field=field,
                   remedy="Give both, or one size for both")  # fmt: skip


def _check_transform(layer: pb.LayerParameter, where: str) -> None:
    if layer.type == "HDF5Data" and layer.HasField("transform_param"):  # hdf5_data_layer.cpp
        raise BadInput("HDF5Data does not transform its data", file=where, field="transform_param",
                       remedy="Leave it out, or transform what the HDF5 files hold")  # fmt: skip
    if layer.type not in TRANSFORMED:
        return
    transform = layer.transform_param
    if transform.mean_file and transform.mean_value:  # data_transformer.cpp
        raise BadInput("cannot be given together with mean_value", file=where, field="transform_param.mean_file",
                       value=transform.mean_file, remedy="Give one of them")  # fmt: skip
    if transform.crop_size > _LARGEST_INT:
        raise BadInput(f"must be at most {_LARGEST_INT}", file=where, field="transform_param.crop_size",
                       value=transform.crop_size, remedy="Give the side of the images")  # fmt: skip
