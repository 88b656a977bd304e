"""A net whose data layers are replaced by ones that can start anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.caffe_files.layer_types import SEEKABLE
from harness.caffe_files.messages import pb
from harness.caffe_files.net import phase_of
from harness.schemas.stream import Stream

# What is said of the layer, not of where its data come from.
_KEPT = ("name", "top", "phase", "loss_weight", "include", "exclude")


def replace_data_layers(param: Any, phase: str, streams: Mapping[str, Stream]) -> Any:
    """A copy of the net `param`, with a Python layer for each `Data` and `ImageData` layer that `streams` has by its
    name.

    `param` holds the layers of `phase` ("TRAIN" or "TEST") only (netfile.keep_layers); streams of another phase are
    left alone. The Python layers have the names and tops of those that they replace.
    """
    made = pb.NetParameter()
    made.CopyFrom(param)
    for layer in made.layer:
        stream = streams.get(layer.name)
        if layer.type in SEEKABLE and stream is not None and stream.phase == phase_of(layer, phase):
            layer.CopyFrom(_replacement(layer, stream))
    return made


def _replacement(layer: Any, stream: Stream) -> Any:
    made = pb.LayerParameter(
        type="Python",
        python_param=pb.PythonParameter(
            module="harness.worker.seekable_layer", layer="SeekableData", param_str=stream.to_json()
        ),
    )
    kept = pb.LayerParameter()
    kept.CopyFrom(layer)
    for field, _ in layer.ListFields():
        if field.name not in _KEPT:
            kept.ClearField(field.name)
    made.MergeFrom(kept)
    return made
