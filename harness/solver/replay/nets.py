"""Nets with seekable layers in the place of their Data layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.solver.messages import pb
from harness.solver.replay.stream import Stream


def replaced(net: Any, streams: Mapping[str, Stream]) -> Any:
    """A copy of the NetParameter `net` with a seekable layer for each Data layer that `streams` names."""
    copy = pb.NetParameter()
    copy.CopyFrom(net)
    for layer in copy.layer:
        if layer.type == "Data" and layer.name in streams:
            layer.type = "Python"
            layer.ClearField("data_param")
            layer.ClearField("transform_param")
            layer.python_param.module = "harness.solver.replay.seekable"
            layer.python_param.layer = "SeekableData"
            layer.python_param.param_str = streams[layer.name].to_json()
    return copy
