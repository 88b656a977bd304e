"""Put weights into a net: Caffe's own way, by the names of layers, or by their numbers where names do not tell."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from harness.caffe_files.messages import pb, read_binary
from harness.errors import BadInput
from harness.worker.pycaffe import Net


def copy_by_name(net: Net, model: Path) -> None:
    """Copy a caffemodel's weights by layer name.

    Caffe's own CopyTrainedLayersFrom (net.cpp) takes an HDF5 file for a binary one, finds no layer in it, and reports
    nothing: a `caffe train` that resumes from one continues with new weights.
    """
    if model.name.endswith(".h5"):
        net.load_hdf5(str(model))
    else:
        net.copy_from(str(model))


def copy_between(source: Net, target: Net) -> None:
    """Copy the weights of `source` to `target`, a net of as many layers with the same params."""
    for ours, theirs in zip(target.layers, source.layers, strict=True):
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
    theirs = [(layer.name, [tuple(blob.shape.dim) for blob in layer.blobs]) for layer in source.layer]
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
