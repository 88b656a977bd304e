"""Nets whose data layers are replaced by ones that can start at any record."""

from __future__ import annotations

from collections.abc import Mapping

from harness.caffe_files.messages import pb
from harness.schemas.feed import StoredLayer
from harness.schemas.stream import RowsStream, Stream

_LAYERS = {
    Stream: ("seekable_layer", "SeekableData"),
    RowsStream: ("seekable_rows", "SeekableRows"),
    StoredLayer: ("arms.stored_batches", "StoredBatches"),
}


def replace_data_layers(
    param: pb.NetParameter, streams: Mapping[int, Stream | RowsStream | StoredLayer]
) -> pb.NetParameter:
    """Copy a net, with a Python layer for each data layer that has a stream, or batches in a store.

    Args:
        param: the net, with the layers of its phase only (net.keep_layers).
        streams: by number of the layer in `param`.

    Returns:
        The copy. The Python layers have the names and tops of those that they replace.
    """
    copy = pb.NetParameter()
    copy.CopyFrom(param)
    for index, stream in streams.items():
        copy.layer[index].CopyFrom(_replacement(param.layer[index], stream))
    return copy


def _replacement(layer: pb.LayerParameter, stream: Stream | RowsStream | StoredLayer) -> pb.LayerParameter:
    """Make the Python layer; of `layer`, it keeps what does not say where its data come from."""
    module, kind = _LAYERS[type(stream)]
    replacement = pb.LayerParameter(
        name=layer.name,
        type="Python",
        top=layer.top,
        loss_weight=layer.loss_weight,
        include=layer.include,
        exclude=layer.exclude,
        python_param=pb.PythonParameter(module=f"harness.worker.{module}", layer=kind, param_str=stream.to_json()),
    )
    if layer.HasField("phase"):
        replacement.phase = layer.phase
    return replacement
