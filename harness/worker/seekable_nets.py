"""Nets whose data layers are replaced by ones that can start at any record."""

from __future__ import annotations

from collections.abc import Mapping

from harness.caffe_files.layer_types import SEEKABLE
from harness.caffe_files.messages import pb
from harness.caffe_files.net import phase_of
from harness.schemas.stream import Stream


def replace_data_layers(param: pb.NetParameter, phase: str, streams: Mapping[str, Stream]) -> pb.NetParameter:
    """Copy a net, with a Python layer for each `Data` and `ImageData` layer that has a stream.

    Args:
        param: the net, with the layers of `phase` only (net.keep_layers).
        phase: "TRAIN" or "TEST".
        streams: by name of the layer; those of another phase are ignored.

    Returns:
        The copy. The Python layers have the names and tops of those that they replace.
    """
    copy = pb.NetParameter()
    copy.CopyFrom(param)
    for layer in copy.layer:
        stream = streams.get(layer.name)
        if layer.type in SEEKABLE and stream is not None and stream.phase == phase_of(layer, phase):
            layer.CopyFrom(_replacement(layer, stream))
    return copy


def _replacement(layer: pb.LayerParameter, stream: Stream) -> pb.LayerParameter:
    """Make the Python layer; of `layer`, it keeps what does not say where its data come from."""
    replacement = pb.LayerParameter(
        name=layer.name,
        type="Python",
        top=layer.top,
        loss_weight=layer.loss_weight,
        include=layer.include,
        exclude=layer.exclude,
        python_param=pb.PythonParameter(
            module="harness.worker.seekable_layer", layer="SeekableData", param_str=stream.to_json()
        ),
    )
    if layer.HasField("phase"):
        replacement.phase = layer.phase
    return replacement
