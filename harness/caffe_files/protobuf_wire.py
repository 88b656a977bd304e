"""Find fields in a serialized protobuf message without parsing it (https://protobuf.dev/programming-guides/encoding)."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

_VARINT, _BYTES, _FIXED = 0, 2, {1: 8, 5: 4}  # wire types, and the sizes of those of fixed size


class DamagedMessage(Exception):
    """The bytes are not a serialized protobuf message."""


def fields(memory: mmap.mmap, within: slice) -> Iterator[tuple[int, slice]]:
    """Yield the fields of the message in the bytes `within`: their numbers, and the bytes of their values.

    Raises:
        DamagedMessage: the bytes are not a message.
    """
    position = within.start
    while position < within.stop:
        key, start = _read_varint(memory, position, within.stop)
        kind = key & 7
        if kind == _VARINT:
            _, position = _read_varint(memory, start, within.stop)
        elif kind == _BYTES:
            size, start = _read_varint(memory, start, within.stop)
            position = start + size
        elif kind in _FIXED:
            position = start + _FIXED[kind]
        else:
            raise DamagedMessage(f"wire type {kind} at byte {position}")
        if position > within.stop:
            raise DamagedMessage(f"byte {position} is beyond its end")
        yield key >> 3, slice(start, position)


def field_header(number: int, size: int) -> bytes:
    """Return the bytes that precede the `size` bytes of field `number`, a submessage or packed numbers."""
    return b"".join(_varint(value) for value in (number << 3 | _BYTES, size))


def _read_varint(memory: mmap.mmap, position: int, stop: int) -> tuple[int, int]:
    """Return the varint at `position`, and the position after it."""
    value = shift = 0
    while position < stop and shift < 64:
        byte = memory[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
    raise DamagedMessage(f"no varint ends at byte {position}")


def _varint(value: int) -> bytes:
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])
