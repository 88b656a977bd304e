"""Find the layers of a net that keep something from one batch to the next outside their params.

Caffe's snapshots do not hold it. Layers that read data are not among them: their position has its own modules.
"""

from __future__ import annotations

from harness.caffe_files.messages import pb

# Layers whose first top has the memory of their only bottom (their Forward or Reshape calls ShareData).
_SHARING = {"Concat", "Flatten", "Reshape", "Slice", "Split"}


def is_recurrent(layer: pb.LayerParameter) -> bool:
    """Check whether a layer begins each batch with the hidden state that the batch before ended with.

    With `expose_hidden`, the state comes from a bottom instead (RecurrentLayer::Forward_cpu, recurrent_layer.cpp).
    """
    return layer.type in ("LSTM", "RNN") and not layer.recurrent_param.expose_hidden


def stateful_layers(net: pb.NetParameter) -> list[int]:
    """List the positions of the layers of a net that keep a state: recurrent ones, and constants changed in place.

    A DummyData layer fills constant tops once and an Input layer never does (dummy_data_layer.cpp, input_layer.cpp): if
    a layer above works in place on such a blob, it changes what it will read in the next iteration.
    """
    found = {position for position, layer in enumerate(net.layer) if is_recurrent(layer)}
    sources: dict[str, int] = {}  # by blob: the constant whose memory it has
    for position, layer in enumerate(net.layer):
        for bottom in layer.bottom:
            if bottom in sources and bottom in layer.top:
                found.add(sources[bottom])
        if layer.type in _SHARING and len(layer.bottom) == 1 and layer.bottom[0] in sources:
            sources.update(dict.fromkeys(layer.top, sources[layer.bottom[0]]))
        elif layer.type == "Input":
            sources.update(dict.fromkeys(layer.top, position))
        elif layer.type == "DummyData":
            sources.update({layer.top[i]: position for i in constant_tops(layer)})
    return sorted(found)


def constant_tops(layer: pb.LayerParameter) -> list[int]:
    """List the numbers of the tops that an Input or DummyData layer does not fill in its forward pass."""
    fillers = list(layer.dummy_data_param.data_filler) if layer.type == "DummyData" else []
    tops = range(len(layer.top))
    if len(fillers) < 2:
        return [] if fillers and fillers[0].type != "constant" else list(tops)
    return [i for i in tops if fillers[i].type == "constant"]
