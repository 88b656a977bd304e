"""Put weights into a net: Caffe's own way, by the names of layers, or by their numbers where names do not tell."""

from __future__ import annotations

import mmap
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from harness.caffe_files.caffemodel import name_of
from harness.caffe_files.messages import is_utf8, pb, read_binary
from harness.caffe_files.protobuf_wire import fields
from harness.errors import BadInput
from harness.worker.pycaffe import Net

_LAYER = pb.NetParameter.DESCRIPTOR.fields_by_name["layer"].number
_NAME = pb.LayerParameter.DESCRIPTOR.fields_by_name["name"].number


def copy_by_name(net: Net, model: Path) -> None:
    """Copy a caffemodel's weights by layer name.

    Caffe's own CopyTrainedLayersFrom (net.cpp) takes an HDF5 file for a binary one, finds no layer in it, and reports
    nothing: a `caffe train` that resumes from one continues with new weights.
    """
    if model.name.endswith(".h5"):
        net.load_hdf5(str(model))
    elif has_other_encoding(model):
        source = read_binary(model, pb.NetParameter, "caffemodel")
        for layer in source.layer:
            layer.name = name_of(layer)
        with tempfile.NamedTemporaryFile(suffix=".caffemodel") as file:
            file.write(source.SerializeToString())
            file.flush()
            net.copy_from(file.name)
    else:
        net.copy_from(str(model))


def has_other_encoding(model: Path) -> bool:
    """Check whether a binary caffemodel has names of layers that are not UTF-8.

    The nets that the harness writes have them in UTF-8 (messages.decode), so that Caffe would not find these layers.
    """
    if model.name.endswith(".h5"):
        return False
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        for number, layer in fields(memory, slice(0, len(memory))):
            if number != _LAYER:
                continue
            for field, name in fields(memory, layer):
                if field == _NAME and not is_utf8(memory[name]):
                    return True
    return False


def copy_between(source: Net, target: Net) -> None:
    """Copy the weights of `source` to `target`, a net whose layers with params are the same, in the same order."""
    pairs = zip(*([layer for layer in net.layers if len(layer.blobs)] for net in (target, source)), strict=True)
    for ours, theirs in pairs:
        for blob, other in zip(ours.blobs, theirs.blobs, strict=True):
            blob.data[...] = other.data


def names_are_ambiguous(net: Net) -> bool:
    """Check whether layers share their name with a layer that has params.

    Net::CopyTrainedLayersFrom (net.cpp) copies all that a caffemodel has under a name to the first layer of that name.
    """
    counts = Counter(net._layer_names)
    return any(
        counts[name] > 1 and len(layer.blobs) > 0 for name, layer in zip(net._layer_names, net.layers, strict=True)
    )


def copy_by_number(net: Net, model: Path) -> None:
    """Copy a binary caffemodel that Caffe wrote of this very net; it has all layers in their order (Net::ToProto).

    Raises:
        BadInput: it is of another net, or damaged.
    """
    source = read_binary(model, pb.NetParameter, "caffemodel")
    theirs = [(name_of(layer), [tuple(blob.shape.dim) for blob in layer.blobs]) for layer in source.layer]
    ours = [
        (name, [tuple(blob.shape) for blob in layer.blobs])
        for name, layer in zip(net._layer_names, net.layers, strict=True)
    ]
    if theirs != ours:
        raise BadInput(
            "several layers of this net have one name, so that weights are copied by the number of the layer; but the "
            "layers of this caffemodel are not those of the net",
            file=model,
            remedy="Give each layer a name of its own, or continue with the net that the snapshot was made with",
        )
    for target, layer in zip(net.layers, source.layer, strict=True):
        for blob, stored in zip(target.blobs, layer.blobs, strict=True):
            if len(stored.data) != blob.count:
                raise BadInput(
                    f"{len(stored.data)} numbers for a blob of {blob.count}",
                    file=model,
                    field="layer",
                    value=layer.name,
                    remedy="The file is damaged: restart from another snapshot",
                )
            blob.data[...] = np.asarray(stored.data, np.float32).reshape(blob.data.shape)
