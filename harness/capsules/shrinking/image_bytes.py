"""Change an encoded image: blank its pixels, or leave out what describes it (camera, place, comments)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"}
_JPEG, _JPEG_SCAN = b"\xff\xd8", 0xDA
# APP0 (JFIF) and APP14 (Adobe) tell decoders how the colours are stored
_JPEG_DESCRIBES = {*range(0xE1, 0xEE), 0xEF, 0xFE}


def flat(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an image (channels last, or without) of the same shape, each channel of which is its mean everywhere."""
    means = pixels.mean(axis=(0, 1), dtype=np.float64)
    if np.issubdtype(pixels.dtype, np.integer):
        means = np.round(means)
    return np.broadcast_to(means, pixels.shape).astype(pixels.dtype)


def blank_image(data: bytes) -> bytes | None:
    """Return a PNG of the same size and channels, of one colour: the mean. None if `data` cannot be decoded."""
    pixels = _decoded(data, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        return None
    _, png = cv2.imencode(".png", flat(pixels))
    return png.tobytes()


def without_metadata(data: bytes) -> bytes:
    """Return a JPEG or PNG without what describes it, as long as the same pixels are read from it; else `data`.

    A JPEG may say there how it is to be turned.
    """
    try:
        if data.startswith(_JPEG):
            kept = _JPEG + b"".join(_jpeg_parts(data))
        elif data.startswith(_PNG):
            kept = _PNG + b"".join(_png_parts(data))
        else:
            return data
    except (struct.error, IndexError, ValueError):  # cut short
        return data
    flags = (cv2.IMREAD_UNCHANGED, cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE)
    return kept if all(_same(_decoded(data, flag), _decoded(kept, flag)) for flag in flags) else data


def _jpeg_parts(data: bytes) -> Iterator[bytes]:
    position = 2
    while True:
        if data[position] != 0xFF:
            raise ValueError(f"no marker at byte {position}")
        marker = data[position + 1]
        if marker == _JPEG_SCAN:
            yield data[position:]
            return
        (size,) = struct.unpack_from(">H", data, position + 2)
        if marker not in _JPEG_DESCRIBES:
            yield data[position : position + 2 + size]
        position += 2 + size


def _png_parts(data: bytes) -> Iterator[bytes]:
    position = len(_PNG)
    while position < len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        stop = position + 12 + size
        if kind in _PNG_NEEDED:
            yield data[position:stop]
        position = stop


def _decoded(data: bytes, flag: int) -> npt.NDArray[Any] | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:  # for example, an empty buffer
        return None


def _same(a: npt.NDArray[Any] | None, b: npt.NDArray[Any] | None) -> bool:
    return a is not None and b is not None and a.shape == b.shape and bool((a == b).all())
