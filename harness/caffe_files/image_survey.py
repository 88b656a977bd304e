"""Survey the images of a source: their shapes and how they are stored, and those that Caffe cannot use.

Pixels are looked at in every record. Encoded images are told by their first bytes, and decoded as long as they are few;
of many, a part is decoded that is spread evenly over all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from harness.caffe_files.formatting import format_shape
from harness.caffe_files.image_kinds import (
    UNREADABLE_BY_CAFFE,
    UNREADABLE_FROM_LMDB,
    detect_kind,
    has_exif,
    lacks_end_marker,
    png_bits,
)
from harness.caffe_files.messages import pb

DECODED = 16 << 20  # bytes of encoded images that are decoded: half a second of photographs
DARK = 31  # of 255; an image without a larger value is nearly black
_MOST_DAMAGED = 10_000  # records of which the reason is kept

Shape = tuple[int, int, int]  # channels, height, width


class ImageKind(msgspec.Struct, frozen=True):
    """Properties that images share.

    Attributes:
        stored: "pixels" or "floats" of a Datum, or the kind of file, as `detect_kind` calls it.
        bits: of a value; 0 if not known.
        shape: channels, height, width; None if the image was not decoded.
        surplus: the record holds more values than its shape has.
        exif: OpenCV may turn the image, if the number of channels is requested.
        cut: a JPEG without its end.
        brightest: of an image of 16 bits, the largest value of the upper 8, which Caffe keeps.
    """

    stored: str
    bits: int
    shape: Shape | None
    surplus: bool = False
    exif: bool = False
    cut: bool = False
    brightest: int | None = None

    @property
    def encoded(self) -> bool:
        return self.stored not in ("pixels", "floats")


@dataclass(frozen=True)
class Images:
    """The images of a source.

    Attributes:
        kinds: of images.
        of: the number in `kinds` of each record (n,); -1 for those that were not looked at, or cannot be used.
        damaged: why records cannot be used, by their numbers; of very many, the first ones.
    """

    kinds: tuple[ImageKind, ...]
    of: npt.NDArray[np.int32]
    damaged: Mapping[int, str] = field(default_factory=dict)

    def first(self, kind: int) -> int:
        """Return the first record of a kind."""
        return int(np.argmax(self.of == kind))

    def without(self, excluded: Sequence[int]) -> Images:
        """Return the images without the records `excluded`, which count as not looked at."""
        of = self.of.copy()
        of[list(excluded)] = -1
        kinds = np.unique(of[of >= 0])
        numbers = np.where(of >= 0, np.searchsorted(kinds, of), -1).astype(np.int32)
        damaged = {number: why for number, why in self.damaged.items() if number not in set(excluded)}
        return Images(tuple(self.kinds[kind] for kind in kinds), numbers, damaged)

    def count(self, kind: int) -> int:
        """Return the number of records of a kind."""
        return int(np.count_nonzero(self.of == kind))


class Survey:
    """A survey of the records of a source, in their order; `size` is about the number of bytes of all of them."""

    def __init__(self, size: int) -> None:
        self._size, self._seen, self._decoded = max(size, 1), 0, 0
        self._kinds: dict[ImageKind, int] = {}
        self._of: list[int] = []
        self._damaged: dict[int, str] = {}

    def add(self, datum: pb.Datum) -> None:
        """Look at the next record."""
        data = datum.data  # a copy at every access
        self._seen += len(data)
        try:
            kind = self._encoded_kind(data) if datum.encoded else pixel_kind(datum, data)
        except ValueError as error:
            self._add_damaged(str(error))
        else:
            self._of.append(self._kinds.setdefault(kind, len(self._kinds)))

    def add_file(self, path: bytes) -> None:
        """Look at the next image of a list, the file `path`."""
        try:
            with open(path, "rb") as file:  # noqa: PTH123  # a path of bytes
                kind = encoded_kind(file.read(), UNREADABLE_BY_CAFFE, decodes=True)
        except OSError as error:
            self._add_damaged(f"it cannot be read ({error.strerror})")
        except ValueError as error:
            self._add_damaged(str(error))
        else:
            self._of.append(self._kinds.setdefault(kind, len(self._kinds)))

    def skip(self, count: int) -> None:
        """Leave out the next `count` records."""
        self._of += [-1] * count

    def _add_damaged(self, why: str) -> None:
        if len(self._damaged) < _MOST_DAMAGED:
            self._damaged[len(self._of)] = why
        self._of.append(-1)

    @property
    def images(self) -> Images:
        return Images(tuple(self._kinds), np.array(self._of, np.int32), self._damaged)

    def _encoded_kind(self, data: bytes) -> ImageKind:
        chosen = self._decoded * self._size <= self._seen * DECODED
        self._decoded += len(data) if chosen else 0
        return encoded_kind(data, UNREADABLE_BY_CAFFE + UNREADABLE_FROM_LMDB, decodes=chosen)


def pixel_kind(datum: pb.Datum, data: bytes) -> ImageKind:
    """Return the kind of a Datum with pixels, `data` or float_data (data_transformer.cpp).

    Raises:
        ValueError: it has no shape, or fewer values than that: Caffe would read beyond them.
    """
    shape = datum.channels, datum.height, datum.width
    if min(shape) < 1:
        raise ValueError(f"its channels, height and width are {format_shape(shape)}")
    values, count = len(data) or len(datum.float_data), shape[0] * shape[1] * shape[2]
    if values < count:
        what = "bytes of pixels" if data else "float values"
        raise ValueError(f"{values:,} {what}, and its shape {format_shape(shape)} needs {count:,}")
    return ImageKind("pixels" if data else "floats", 8 if data else 32, shape, surplus=values > count)


def encoded_kind(data: bytes, unreadable: tuple[str, ...], decodes: bool) -> ImageKind:
    """Return the kind of an encoded image.

    Args:
        unreadable: kinds that Caffe cannot decode there.
        decodes: decode it; its shape is not known otherwise.

    Raises:
        ValueError: Caffe cannot decode it.
    """
    if not data:
        raise ValueError("an encoded image of zero bytes")
    stored = detect_kind(data)
    if stored in unreadable:
        raise ValueError(f"{stored.upper()}, which Caffe cannot decode here")
    if stored == "jpeg" and lacks_end_marker(data):  # of which OpenCV 4.6 decodes a part, or nothing
        return ImageKind(stored, 8, None, cut=True)
    if stored and not decodes:
        return ImageKind(stored, png_bits(data) if stored == "png" else 0, None)
    pixels = _decode(data)
    if pixels is None:
        what = f"{stored.upper()} of {len(data):,} bytes" if stored else f"{len(data):,} bytes that begin {data[:12]!r}"
        raise ValueError(f"{what}, which cannot be decoded as an image")
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    return ImageKind(
        stored,
        8 * pixels.itemsize,
        (channels, height, width),
        exif=has_exif(data, stored),
        brightest=int(pixels.max()) >> 8 if pixels.dtype == np.uint16 else None,
    )


def _decode(data: bytes) -> npt.NDArray[Any] | None:
    import cv2  # here, because the import takes a tenth of a second and few sources need it

    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # for example, more pixels than it allows
        return None
