"""Access to the hidden state of LSTM and RNN layers, from outside.

Such a layer runs a net of its own, one copy of the cell for each step, and begins a batch with the state that the last
step of the batch before left in its blobs `recur_output_blobs_` (recurrent_layer.cpp). pycaffe shows neither. Here they
are read where recurrent_layer.hpp puts them. Nothing in Caffe is changed, and all that is assumed of its memory is
verified each time: the layer and its inner net are recognized by their virtual tables, whose names libcaffe exports,
and their blobs by number, size and the output that they share with the layer's top.
"""

from __future__ import annotations

import ctypes
import os
import sys

import caffe
import numpy as np

from harness.worker.pycaffe import Floats, Net

# Virtual tables (by type of layer, and of Net<float>), and the number of blobs that carry the state.
_TABLES = {"LSTM": "_ZTVN5caffe9LSTMLayerIfEE", "RNN": "_ZTVN5caffe8RNNLayerIfEE"}
_NET_TABLE = "_ZTVN5caffe3NetIfEE"
_STATES = {"LSTM": 2, "RNN": 1}  # hidden and cell state (LSTMLayer::RecurrentOutputBlobNames); hidden state
_WORD = ctypes.sizeof(ctypes.c_void_p)
_HOLDER = 5 * _WORD  # in a Boost.Python object: where the pointer to its instance_holder is (instance.hpp)
_HELD = 2 * _WORD  # in a pointer_holder: the shared_ptr (pointer_holder.hpp)
_COUNT = 9 * _WORD  # in a Blob<float>: count_ (blob.hpp), after three shared_ptr and a vector


class Unreadable(Exception):
    """The memory of a layer is not laid out as in BVLC Caffe."""


class _Vector(ctypes.Structure):
    """A std::vector of pointers."""

    _fields_ = (("begin", ctypes.c_size_t), ("end", ctypes.c_size_t), ("capacity", ctypes.c_size_t))

    def __len__(self) -> int:
        return int(self.end - self.begin) // _WORD

    def pointers(self) -> list[int]:
        return [_word(self.begin + i * _WORD) for i in range(len(self))]


class _Members(ctypes.Structure):
    """The members of RecurrentLayer<float> from `unrolled_net_` on (recurrent_layer.hpp)."""

    _fields_ = (
        ("unrolled_net", ctypes.c_void_p * 2),
        ("streams", ctypes.c_int),
        ("steps", ctypes.c_int),
        ("static_input", ctypes.c_bool),
        ("last_layer_index", ctypes.c_int),
        ("expose_hidden", ctypes.c_bool),
        ("recur_inputs", _Vector),
        ("recur_outputs", _Vector),
        ("outputs", _Vector),
    )


def hidden_state(net: Net, number: int) -> list[Floats]:
    """Return views of the blobs with which layer `number` of `net`, an LSTM or RNN, begins its next batch.

    Each is (1, streams, num_output): the hidden state, and of an LSTM the cell state. The views are valid until the
    layer runs again.

    Raises:
        Unreadable: they are not where they are expected.
    """
    layer, kind = net.layers[number], net.layers[number].type
    library = ctypes.CDLL(caffe._caffe.__file__)
    data = library._ZN5caffe4BlobIfE16mutable_cpu_dataEv  # Blob<float>::mutable_cpu_data()
    data.restype, data.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

    address = _word(_word(id(layer) + _HOLDER) + _HELD)
    if _word(address) != _table(library, _TABLES[kind]):
        raise Unreadable(f"no {kind} layer where pycaffe keeps it")
    members = _members(library, address)
    top = net._blobs[net._top_ids(number)[0]]
    steps, streams, size = top.shape
    outputs, states = members.outputs.pointers(), members.recur_outputs.pointers()
    if (members.steps, members.streams, members.expose_hidden) != (steps, streams, False):
        raise Unreadable("other numbers of steps and streams than in its top")
    if len(outputs) != 1 or len(states) != _STATES[kind] or len(members.recur_inputs) != len(states):
        raise Unreadable("other numbers of blobs than its kind has")
    if data(outputs[0]) != top.data.ctypes.data:
        raise Unreadable("its output is not its top")
    if any(_word(state + _COUNT) & 0xFFFFFFFF != streams * size for state in states):
        raise Unreadable("states of another size than its top")
    pointers = [ctypes.cast(data(state), ctypes.POINTER(ctypes.c_float)) for state in states]
    return [np.ctypeslib.as_array(pointer, (1, streams, size)) for pointer in pointers]


def _members(library: ctypes.CDLL, layer: int) -> _Members:
    """Find the members of a recurrent layer: the first of them points to a net."""
    c = ctypes.CDLL(None)
    c.malloc_usable_size.restype, c.malloc_usable_size.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    end = layer + c.malloc_usable_size(layer)
    table = _table(library, _NET_TABLE)
    for place in range(layer + _WORD, end - ctypes.sizeof(_Members), _WORD):
        try:
            if _word(_word(place)) == table:
                return _Members.from_address(place)
        except Unreadable:  # not a pointer
            continue
    raise Unreadable("it has no inner net")


def _table(library: ctypes.CDLL, name: str) -> int:
    """Return what objects of a class begin with: its virtual table, without the two entries before the functions."""
    try:
        return ctypes.addressof(ctypes.c_char.in_dll(library, name)) + 2 * _WORD
    except ValueError:
        raise Unreadable(f"libcaffe exports no {name}") from None


def _word(address: int) -> int:
    """Read a word of this process's memory. A wrong address is an error here, where reading it directly would crash."""
    memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.pread(memory, _WORD, address)
    except (OSError, OverflowError):
        content = b""
    finally:
        os.close(memory)
    if len(content) < _WORD:
        raise Unreadable(f"no memory at {address:#x}")
    return int.from_bytes(content, sys.byteorder)
