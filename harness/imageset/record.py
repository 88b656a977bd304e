"""From an image file to the record that convert_imageset makes of it, or to what is wrong with it.

What convert_imageset does (ReadImageToDatum in util/io.cpp), with its OpenCV 4.6, was compared with OpenCV 5.0 of the
venv on real files: decoding, greying, resizing (bilinear) and encoding as JPEG, PNG and BMP give equal bytes.
`decoding` says where the two differ, and what is done about it.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import xxhash

from harness.caffe_files.messages import pb
from harness.imageset.decoding import (
    DEAF_TO_ENCODED,
    END,
    UNKNOWN_TO_CAFFE,
    Pixels,
    decode,
    kind_of,
    lacks_its_end,
    orientation,
)
from harness.imageset.stderr import Hearing

LONGEST_KEY = 511  # bytes: LMDB's
LOSSLESS = ("png", "bmp", "ppm", "pgm", "tif", "tiff")


@dataclass(frozen=True)
class Form:
    """What becomes of an image: convert_imageset's options."""

    gray: bool = False
    height: int = 0
    width: int = 0
    encoded: bool = False
    encode_type: str = ""

    @property
    def encodes(self) -> bool:
        return self.encoded or bool(self.encode_type)

    @property
    def resizes(self) -> bool:
        return self.height > 0 and self.width > 0

    @property
    def flag(self) -> int:
        return cv2.IMREAD_GRAYSCALE if self.gray else cv2.IMREAD_COLOR

    def type_of(self, path: bytes) -> str:
        """The type as which the image `path` is to be stored; empty: as pixels, or none can be told."""
        return self.encode_type or (_extension(path) if self.encoded else "")

    def as_it_is(self, path: bytes) -> bool:
        """Whether the file itself is stored."""
        own, wanted = _extension(path), self.type_of(path)
        return self.encodes and not self.resizes and (own == wanted or (wanted == "jpg" and own == "jpeg"))


@dataclass(frozen=True)
class Problem:
    """What is wrong with an image. `kept`: it is in the LMDB all the same."""

    path: str
    label: int
    kind: str
    why: str
    kept: bool = False


@dataclass
class Converted:
    """An image that was read: its record and what Caffe decodes of it; or without a record what is wrong with it."""

    number: int
    path: bytes
    label: int
    digest: bytes = b""
    record: bytes | None = None
    shape: tuple[int, int, int] = (0, 0, 0)  # channels, height, width, as Caffe decodes it
    problems: tuple[Problem, ...] = ()

    @property
    def key(self) -> bytes:
        return b"%08d_%b" % (self.number, self.path)


class Unusable(Exception):
    """An image that cannot be used: the kind of problem, and why."""


def convert(root: bytes, number: int, path: bytes, label: int, form: Form, heard: Hearing) -> tuple[Converted, Any]:
    """The image `root + path` as record `number`, and its pixels for the mean (None where there is no record)."""
    image = Converted(number, path, label)
    try:
        if len(image.key) > LONGEST_KEY:
            raise Unusable("path too long", f"its key has {len(image.key)} bytes, and LMDB's keys {LONGEST_KEY}")
        data = read(root + path)
        image.digest = xxhash.xxh3_128_digest(data)
        image.record, pixels, remarks = _record(path, data, label, form, heard)
    except Unusable as unusable:
        image.problems = (Problem(printable(path), label, *unusable.args),)
        return image, None
    except MemoryError:
        raise
    except Exception as error:  # a library's own: one image is no reason to stop
        heard.said()
        why = str(getattr(error, "err", "") or error).strip().partition("\n")[0]  # OpenCV's, without its source lines
        image.problems = (Problem(printable(path), label, "damaged", f"{type(error).__name__}: {why}"),)
        return image, None
    image.problems = tuple(Problem(printable(path), label, kind, why, kept=True) for kind, why in remarks)
    height, width = pixels.shape[:2]
    image.shape = (1 if pixels.ndim == 2 else pixels.shape[2], height, width)
    return image, pixels


def read(path: bytes) -> bytes:
    """The bytes of an image file.

    Raises:
        Unusable: they cannot be read, or there are none.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would be waited for
        try:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                raise Unusable("unreadable", "not a regular file")
            with open(opened, "rb", buffering=0, closefd=False) as file:
                data = file.readall()
        finally:
            os.close(opened)
    except FileNotFoundError:
        raise Unusable("no such file", f"{printable(path)} does not exist") from None
    except (OSError, ValueError) as error:
        raise Unusable("unreadable", getattr(error, "strerror", None) or str(error)) from None
    if not data:
        raise Unusable("empty", "zero bytes")
    return data


def pixels_of(record: bytes, form: Form) -> Pixels:
    """The pixels in a record, as Caffe decodes it (with force_color, where records are stored as they are)."""
    datum: Any = pb.Datum.FromString(record)
    if datum.encoded:
        decoded = decode(datum.data, cv2.IMREAD_UNCHANGED)
        if decoded is None or _differs(decoded, form):
            decoded = decode(datum.data, form.flag)
        assert decoded is not None  # it was, when the record was made
        return decoded
    planes = np.frombuffer(datum.data, np.uint8).reshape(datum.channels, datum.height, datum.width)
    return planes[0] if datum.channels == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0))


def printable(path: bytes) -> str:
    return path.decode(errors="backslashreplace")


def _record(
    path: bytes, data: bytes, label: int, form: Form, heard: Hearing
) -> tuple[bytes, Pixels, list[tuple[str, str]]]:
    kind, as_it_is = kind_of(data), form.as_it_is(path)
    _check_kind(kind, as_it_is, form)
    pixels, remarks = _decoded(data, kind, as_it_is, form, heard)
    if as_it_is:
        if _differs(pixels, form):
            remarks.append(("another form", f"stored as it is: {_described(pixels)}"))
            wanted, _ = _heard(data, form.flag, heard)
            if wanted is None:  # floats, for one
                raise Unusable("damaged", f"{kind.upper()} that OpenCV cannot decode as {_wanted(form)}")
            pixels = wanted
        if 1 < (turn := orientation(data, kind)) <= 8:
            remarks.append(("turned", f"EXIF orientation {turn}, which Caffe heeds with force_{_wanted(form)} only"))
        return _encoded(data, label), pixels, remarks
    if form.resizes:
        pixels = cv2.resize(pixels, (form.width, form.height))  # type: ignore[assignment]
    if not form.encodes:
        planes = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        raw: Any = pb.Datum(
            channels=1 if pixels.ndim == 2 else len(planes), height=pixels.shape[0], width=pixels.shape[1],
            data=planes.tobytes(), label=label, encoded=False,
        )  # fmt: skip
        return raw.SerializeToString(), pixels, remarks
    encoded = _encode(pixels, form.type_of(path))
    if form.type_of(path) not in LOSSLESS:  # what Caffe will see, and compute_image_mean
        decoded = decode(encoded, form.flag)
        if decoded is None:
            raise Unusable("no type", f"encoded as {form.type_of(path)!r}, it cannot be decoded: give --encode-type")
        pixels = decoded
    heard.said()
    return _encoded(encoded, label), pixels, remarks


def _check_kind(kind: str, as_it_is: bool, form: Form) -> None:
    if kind in UNKNOWN_TO_CAFFE:
        raise Unusable("not for Caffe", f"{kind.upper()}, which Caffe's OpenCV cannot read: convert it to JPEG or PNG")
    if as_it_is and kind in DEAF_TO_ENCODED:
        raise _deaf(kind)
    if kind == "hdr" and form.gray:
        raise Unusable("not for Caffe", "HDR, of which Caffe's OpenCV makes no grey image: convert it to JPEG or PNG")


def _deaf(kind: str) -> Unusable:
    return Unusable("not for Caffe", f"{kind.upper()}, which Caffe cannot decode from an LMDB: give --encode-type jpg")


def _decoded(
    data: bytes, kind: str, as_it_is: bool, form: Form, heard: Hearing
) -> tuple[Pixels, list[tuple[str, str]]]:
    """The pixels of an image file, and what is to be remarked about them."""
    flag = cv2.IMREAD_UNCHANGED if as_it_is else form.flag
    pixels, said = _heard(data, flag, heard)
    endless = kind == "jpeg" and lacks_its_end(data)
    if pixels is None and endless:
        mended, complaint = _heard(data + END, flag, heard)  # as libjpeg does for convert_imageset
        if mended is None or complaint:
            raise Unusable("truncated", "a JPEG cut short: only a part of it, or nothing, can be decoded")
        if as_it_is:
            raise Unusable("truncated", "a JPEG without its end, which Caffe cannot decode from an LMDB: save it anew")
        pixels = mended
    if pixels is None:
        raise _undecoded(data, kind, said)
    if endless:
        return pixels, [("damaged?", "its end is missing, and perhaps the lower part of the picture")]
    if said.startswith("Corrupt JPEG data"):  # libjpeg mends what it can, as it does for Caffe
        return pixels, [("damaged?", said)]
    return pixels, []


def _heard(data: bytes, flag: int, heard: Hearing) -> tuple[Pixels | None, str]:
    return decode(data, flag), heard.said()


def _encoded(data: bytes, label: int) -> bytes:
    return bytes(pb.Datum(data=data, label=label, encoded=True).SerializeToString())


def _encode(pixels: Pixels, kind: str) -> bytes:
    if not kind:
        raise Unusable("no type", "its name says no type to encode it as: give --encode-type")
    if kind in DEAF_TO_ENCODED:
        raise _deaf(kind)
    try:
        done, encoded = cv2.imencode(f".{kind}", pixels)
    except cv2.error:
        done = False
    if not done:
        raise Unusable("no type", f"OpenCV cannot encode it as {kind!r}: give --encode-type")
    return encoded.tobytes()


def _undecoded(data: bytes, kind: str, said: str) -> Unusable:
    if not kind:
        return Unusable("not an image", f"it begins with {data[:12]!r}")
    reason = (
        f": {said}" if said and not said.startswith("[") else ""
    )  # OpenCV's own, in brackets, name its source lines
    return Unusable("damaged", f"{kind.upper()} that cannot be decoded{reason}")


def _differs(pixels: npt.NDArray[Any], form: Form) -> bool:
    """Whether an image, decoded as it is, has other channels or other values than it should."""
    return pixels.dtype != np.uint8 or (pixels.shape[2] if pixels.ndim == 3 else 1) != (1 if form.gray else 3)


def _wanted(form: Form) -> str:
    """As transform_param calls it."""
    return "gray" if form.gray else "color"


def _described(pixels: npt.NDArray[Any]) -> str:
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    what = {1: "grey", 2: "grey with alpha", 3: "colour", 4: "colour with alpha"}.get(channels, f"{channels} channels")
    return what if pixels.dtype == np.uint8 else f"{what}, {8 * pixels.itemsize} bits a value"


def _extension(path: bytes) -> str:
    return os.fsdecode(path).rpartition(".")[2].lower() if b"." in path else ""
