"""Objects of Caffe in the memory of this process that pycaffe does not show.

Nothing in Caffe is changed, and all that is assumed of its memory is verified each time: objects are recognized by
their virtual tables, whose names libcaffe exports, and blobs by their shapes. Memory is read through the kernel: a
wrong address is an error here, where reading it directly would crash.
"""

from __future__ import annotations

import ctypes
import math
import os
import struct
from dataclasses import dataclass
from functools import cache

import caffe
import numpy as np

from harness.worker.pycaffe import Floats

WORD = ctypes.sizeof(ctypes.c_void_p)
_HOLDER = 5 * WORD  # in a Boost.Python object: where the pointer to its instance_holder is (instance.hpp)
_HELD = 2 * WORD  # in a pointer_holder: the shared_ptr (pointer_holder.hpp)
_SHAPE = 6 * WORD  # in a Blob<float>: shape_, a vector of ints (blob.hpp), after three shared_ptr
_COUNT = 9 * WORD  # count_, after it
_MOST_AXES = 32  # kMaxBlobAxes (blob.hpp)
_LARGEST = 1 << 24  # bytes of a vector of pointers


class Unreadable(Exception):
    """The memory of an object is not laid out as in BVLC Caffe."""


class Vector(ctypes.Structure):
    """A std::vector of pointers or of shared_ptr, which begin with theirs."""

    _fields_ = (("begin", ctypes.c_size_t), ("end", ctypes.c_size_t), ("capacity", ctypes.c_size_t))

    def pointers(self, step: int = WORD) -> list[int]:
        """List the pointers, of which one is at every `step` bytes.

        Raises:
            Unreadable: this is no such vector.
        """
        size = self.end - self.begin
        if not 0 <= size <= _LARGEST or size % step:
            raise Unreadable(f"no vector of pointers from {self.begin:#x} to {self.end:#x}")
        return [word for (word,) in struct.iter_unpack("@P", read(self.begin, size))][:: step // WORD]


@dataclass(frozen=True)
class NativeBlob:
    """The Blob<float> at `address`, with the properties that pycaffe's has (_caffe.cpp)."""

    address: int
    shape: tuple[int, ...]

    @classmethod
    def at(cls, address: int) -> NativeBlob:
        """Read the shape of the blob at `address`.

        Raises:
            Unreadable: there is none.
        """
        begin, end, _, count = struct.unpack("@PPPi", read(address + _SHAPE, _COUNT - _SHAPE + 4))
        if not 0 <= end - begin <= 4 * _MOST_AXES:
            raise Unreadable(f"no blob at {address:#x}")
        shape = struct.unpack(f"@{(end - begin) // 4}i", read(begin, end - begin))
        if math.prod(shape) != count:
            raise Unreadable(f"no blob at {address:#x}")
        return cls(address, shape)

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def data(self) -> Floats:
        return self._view(_call("_ZN5caffe4BlobIfE16mutable_cpu_dataEv", self.address))

    @property
    def diff(self) -> Floats:
        return self._view(_call("_ZN5caffe4BlobIfE16mutable_cpu_diffEv", self.address))

    @property
    def _gpu_data_ptr(self) -> int:
        return _call("_ZN5caffe4BlobIfE16mutable_gpu_dataEv", self.address)

    def _view(self, address: int) -> Floats:
        return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), self.shape)


def held_object(wrapper: object, table: str) -> int:
    """Return the address of the object that pycaffe's `wrapper` holds, which has the virtual table `table`.

    Raises:
        Unreadable: it is not where it is expected.
    """
    address = read_word(read_word(id(wrapper) + _HOLDER) + _HELD)
    if read_word(address) != virtual_table(table):
        raise Unreadable(f"no object with {table} where pycaffe keeps it")
    return address


def virtual_table(name: str) -> int:
    """Return what objects of a class begin with: its virtual table, without the two entries before the functions.

    Raises:
        Unreadable: libcaffe exports none of this (mangled) name.
    """
    try:
        return ctypes.addressof(ctypes.c_char.in_dll(_library(), name)) + 2 * WORD
    except ValueError:
        raise Unreadable(f"libcaffe exports no {name}") from None


def call_method(name: str, address: int) -> int:
    """Call a method of the object at `address` that takes nothing and returns a pointer or a reference.

    Raises:
        Unreadable: libcaffe exports none of this (mangled) name.
    """
    try:
        return _call(name, address)
    except AttributeError:
        raise Unreadable(f"libcaffe exports no {name}") from None


def read_word(address: int) -> int:
    """Read a word of this process's memory.

    Raises:
        Unreadable: there is no memory at `address`.
    """
    return int.from_bytes(read(address, WORD), "little")


def read(address: int, size: int) -> bytes:
    """Read `size` bytes of this process's memory.

    Raises:
        Unreadable: there is no memory at `address`, or not as much.
    """
    memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.pread(memory, size, address)
    except (OSError, OverflowError):
        content = b""
    finally:
        os.close(memory)
    if len(content) < size:
        raise Unreadable(f"no memory at {address:#x}")
    return content


def _call(name: str, address: int) -> int:
    method = _library()[name]  # a new object each time, so that nobody else's argtypes are changed
    method.restype, method.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    return int(method(address))


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(caffe._caffe.__file__)
