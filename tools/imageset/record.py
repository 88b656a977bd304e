"""From an image file to the record that convert_imageset makes of it, or to what is wrong with it.

What convert_imageset does (ReadImageToDatum in util/io.cpp), with its OpenCV 4.6, was compared with OpenCV 5.0 of the
venv on real files: decoding, greying, resizing (bilinear) and encoding as JPEG, PNG and BMP give equal bytes; WebP is
encoded into other bytes with the same pixels. 5.0 reads GIF, AVIF and animated WebP, 4.6, and so Caffe, does not. Of a
truncated JPEG, 4.6 gives the upper half; 5.0 gives nothing (from memory, that is: as here).
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import xxhash
from PIL import Image

from harness.solver.prototxt.messages import pb
from imageset.stderr import Hearing

Pixels = npt.NDArray[np.uint8]  # (height, width) or (height, width, channels), BGR

UNKNOWN_TO_CAFFE = ("gif", "avif", "jxl", "heic", "animated webp")
LONGEST_KEY = 511  # bytes: LMDB's
LOSSLESS = ("png", "bmp", "ppm", "pgm", "tif", "tiff")
_ORIENTATION = 0x0112  # EXIF


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
        with open(path, "rb") as file:  # noqa: PTH123  # bytes; and ten microseconds sooner
            data = file.read()
    except FileNotFoundError:
        raise Unusable("no such file", f"{printable(path)} does not exist") from None
    except (OSError, ValueError) as error:
        raise Unusable("unreadable", getattr(error, "strerror", None) or str(error)) from None
    if not data:
        raise Unusable("empty", "zero bytes")
    return data


def pixels_of(record: bytes, form: Form) -> Pixels:
    """The pixels in a record, as Caffe decodes it (with force_encoded_color, where records are stored as they are)."""
    datum: Any = pb.Datum.FromString(record)
    if datum.encoded:
        decoded = _decode(datum.data, cv2.IMREAD_UNCHANGED)
        if decoded is None or _differs(decoded, form):
            decoded = _decode(datum.data, form.flag)
        assert decoded is not None
        return decoded
    planes = np.frombuffer(datum.data, np.uint8).reshape(datum.channels, datum.height, datum.width)
    return planes[0] if datum.channels == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0))


def printable(path: bytes) -> str:
    return path.decode(errors="backslashreplace")


def _record(
    path: bytes, data: bytes, label: int, form: Form, heard: Hearing
) -> tuple[bytes, Pixels, list[tuple[str, str]]]:
    if (kind := _kind(data)) in UNKNOWN_TO_CAFFE:
        raise Unusable("not for Caffe", f"{kind.upper()}, which Caffe's OpenCV cannot read: convert it to JPEG or PNG")
    heard.start()
    as_it_is = form.as_it_is(path)
    pixels = _decode(data, cv2.IMREAD_UNCHANGED if as_it_is else form.flag)
    said = heard.end()
    if pixels is None:
        raise _undecoded(data, kind, said)
    remarks = []
    if said.startswith("Corrupt JPEG data"):  # libjpeg mends what it can, as it does for Caffe
        remarks.append(("damaged?", said))
    if as_it_is:
        if _differs(pixels, form):
            remarks.append(("another form", f"stored as it is: {_described(pixels)}"))
            pixels = _decode(data, form.flag)
            assert pixels is not None
        if (turn := _orientation(data)) > 1:
            remarks.append(("turned", f"EXIF orientation {turn}, which Caffe heeds with force_encoded_color only"))
        return _encoded(data, label), pixels, remarks
    if form.resizes:
        pixels = cv2.resize(pixels, (form.width, form.height))  # type: ignore[assignment]
    if not form.encodes:
        planes = [pixels] if pixels.ndim == 2 else cv2.split(pixels)
        raw: Any = pb.Datum(
            channels=len(planes), height=pixels.shape[0], width=pixels.shape[1],
            data=b"".join([plane.tobytes() for plane in planes]), label=label, encoded=False,
        )  # fmt: skip
        return raw.SerializeToString(), pixels, remarks
    encoded = _encode(pixels, form.type_of(path))
    if form.type_of(path) not in LOSSLESS:  # what Caffe will see, and compute_image_mean
        decoded = _decode(encoded, form.flag)
        assert decoded is not None
        pixels = decoded
    return _encoded(encoded, label), pixels, remarks


def _encoded(data: bytes, label: int) -> bytes:
    return bytes(pb.Datum(data=data, label=label, encoded=True).SerializeToString())


def _encode(pixels: Pixels, kind: str) -> bytes:
    if not kind:
        raise Unusable("no type", "its name says no type to encode it as: give --encode-type")
    try:
        done, encoded = cv2.imencode(f".{kind}", pixels)
    except cv2.error:
        done = False
    if not done:
        raise Unusable("no type", f"OpenCV cannot encode it as {kind!r}: give --encode-type")
    return encoded.tobytes()


def _decode(data: bytes, flag: int) -> Pixels | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flag)  # type: ignore[return-value]
    except cv2.error:  # more pixels than it allows, for one
        return None


def _undecoded(data: bytes, kind: str, said: str) -> Unusable:
    if kind == "jpeg" and _decode(data + b"\xff\xd9", cv2.IMREAD_REDUCED_GRAYSCALE_8) is not None:
        return Unusable("truncated", "a JPEG cut short: only a part of it can be decoded")
    if not kind:
        return Unusable("not an image", f"it begins with {data[:12]!r}")
    reason = (
        f": {said}" if said and not said.startswith("[") else ""
    )  # OpenCV's own, in brackets, name its source lines
    return Unusable("damaged", f"{kind.upper()} that cannot be decoded{reason}")


def _differs(pixels: npt.NDArray[Any], form: Form) -> bool:
    """Whether an image, decoded as it is, has other channels or other values than it should."""
    return pixels.dtype != np.uint8 or (pixels.shape[2] if pixels.ndim == 3 else 1) != (1 if form.gray else 3)


def _described(pixels: npt.NDArray[Any]) -> str:
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    what = {1: "grey", 2: "grey with alpha", 3: "colour", 4: "colour with alpha"}.get(channels, f"{channels} channels")
    return what if pixels.dtype == np.uint8 else f"{what}, {8 * pixels.itemsize} bits a value"


def _orientation(data: bytes) -> int:
    if b"Exif" not in data[: 1 << 16]:
        return 1
    try:
        with Image.open(io.BytesIO(data)) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow has many for odd EXIF data, and OpenCV has decoded the image
        return 1


def _extension(path: bytes) -> str:
    return os.fsdecode(path).rpartition(".")[2].lower() if b"." in path else ""


_SIGNS = (
    ("jpeg", rb"\xff\xd8\xff"),
    ("png", rb"\x89PNG\r\n"),
    ("gif", rb"GIF8"),
    ("avif", rb".{4}ftypavi[fs]"),
    ("heic", rb".{4}ftyp(hei|hev|mif|msf)"),
    ("jxl", rb"\xff\x0a|\0\0\0\x0cJXL "),
    ("webp", rb"RIFF.{4}WEBP"),
    ("tiff", rb"II[*+]\0|MM\0[*+]"),
    ("bmp", rb"BM.{4}\0\0\0\0"),
    ("jp2", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    ("pnm", rb"P[1-7]\s"),
    ("exr", rb"\x76\x2f\x31\x01"),
    ("hdr", rb"#\?R"),
    ("ras", rb"\x59\xa6\x6a\x95"),
)


def _kind(data: bytes) -> str:
    """What kind of image `data` begins as; empty: none."""
    if data[8:16] == b"WEBPVP8X" and data[20:21] and data[20] & 2:
        return "animated webp"
    return next((kind for kind, sign in _SIGNS if re.match(sign, data, re.DOTALL)), "")
