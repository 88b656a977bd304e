"""Access to the hidden state of LSTM and RNN layers, from outside.

Such a layer runs a net of its own, one copy of the cell for each step, and begins a batch with the state that the last
step of the batch before left in its blobs `recur_output_blobs_` (recurrent_layer.cpp). pycaffe shows neither. Here they
are read where recurrent_layer.hpp puts them (native_memory.py), and verified each time: the layer and its inner net by
their virtual tables, their blobs by number, size and the output that they share with the layer's top.
"""

from __future__ import annotations

import ctypes

from harness.worker.native_memory import WORD, NativeBlob, Unreadable, Vector, held_object, read_word, virtual_table
from harness.worker.pycaffe import Floats, Net

# Virtual tables (by type of layer, and of Net<float>), and the number of blobs that carry the state.
_TABLES = {"LSTM": "_ZTVN5caffe9LSTMLayerIfEE", "RNN": "_ZTVN5caffe8RNNLayerIfEE"}
_NET_TABLE = "_ZTVN5caffe3NetIfEE"
_STATES = {"LSTM": 2, "RNN": 1}  # hidden and cell state (LSTMLayer::RecurrentOutputBlobNames); hidden state


class _Members(ctypes.Structure):
    """The members of RecurrentLayer<float> from `unrolled_net_` on (recurrent_layer.hpp)."""

    _fields_ = (
        ("unrolled_net", ctypes.c_void_p * 2),
        ("streams", ctypes.c_int),
        ("steps", ctypes.c_int),
        ("static_input", ctypes.c_bool),
        ("last_layer_index", ctypes.c_int),
        ("expose_hidden", ctypes.c_bool),
        ("recur_inputs", Vector),
        ("recur_outputs", Vector),
        ("outputs", Vector),
    )


def hidden_state(net: Net, number: int) -> list[Floats]:
    """Return views of the blobs with which layer `number` of `net`, an LSTM or RNN, begins its next batch.

    Each is (1, streams, num_output): the hidden state, and of an LSTM the cell state. The views are valid until the
    layer runs again.

    Raises:
        Unreadable: they are not where they are expected.
    """
    layer, kind = net.layers[number], net.layers[number].type
    members = _members(held_object(layer, _TABLES[kind]))
    top = net._blobs[net._top_ids(number)[0]]
    steps, streams, size = top.shape
    outputs, states = members.outputs.pointers(), members.recur_outputs.pointers()
    if (members.steps, members.streams, members.expose_hidden) != (steps, streams, False):
        raise Unreadable("other numbers of steps and streams than in its top")
    if len(outputs) != 1 or len(states) != _STATES[kind] or len(members.recur_inputs.pointers()) != len(states):
        raise Unreadable("other numbers of blobs than its kind has")
    if NativeBlob.at(outputs[0]).data.ctypes.data != top.data.ctypes.data:
        raise Unreadable("its output is not its top")
    blobs = [NativeBlob.at(state) for state in states]
    if any(blob.shape != (1, streams, size) for blob in blobs):
        raise Unreadable("states of another size than its top")
    return [blob.data for blob in blobs]


def _members(layer: int) -> _Members:
    """Find the members of a recurrent layer: the first of them points to a net."""
    c = ctypes.CDLL(None)
    c.malloc_usable_size.restype, c.malloc_usable_size.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    end = layer + c.malloc_usable_size(layer)
    table = virtual_table(_NET_TABLE)
    for place in range(layer + WORD, end - ctypes.sizeof(_Members), WORD):
        try:
            if read_word(read_word(place)) == table:
                return _Members.from_address(place)
        except Unreadable:  # not a pointer
            continue
    raise Unreadable("it has no inner net")
