"""Convert an image file to the record that convert_imageset makes of it, or report the problem with it.

The results of convert_imageset (ReadImageToDatum in util/io.cpp), which uses OpenCV 4.6, were compared with those of
OpenCV 5.0 on real files: decoding, conversion to grey, resizing (bilinear) and encoding as JPEG, PNG and BMP give equal
bytes. `decoding` lists the differences and handles them.
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

from harness.caffe_files.formatting import printable
from harness.caffe_files.image_kinds import (
    END_MARKER,
    UNREADABLE_BY_CAFFE,
    UNREADABLE_FROM_LMDB,
    detect_kind,
    lacks_end_marker,
    may_have_16_bits,
)
from harness.caffe_files.image_survey import DARK
from harness.caffe_files.messages import pb
from harness.imageset.decoding import Pixels, decode, orientation
from harness.imageset.image_format import LOSSLESS, ImageFormat
from harness.imageset.native_stderr import CapturedStderr
from harness.imageset.problems import Problem, UnusableImage

LONGEST_KEY = 511  # bytes, in LMDB
_UPRIGHT = 1  # EXIF orientation
_LARGEST_ORIENTATION = 8
_DARK = "nearly black"  # a kind of problem

Remark = tuple[str, str]  # kind of problem, why; the image is kept


@dataclass
class ConvertedImage:
    """An image that was read: its record and its shape as Caffe decodes it, or only the problem with it."""

    number: int
    path: bytes
    label: int
    digest: bytes = b""
    record: bytes | None = None
    shape: tuple[int, int, int] = (0, 0, 0)  # channels, height, width
    problems: tuple[Problem, ...] = ()

    @property
    def key(self) -> bytes:
        return b"%08d_%b" % (self.number, self.path)


def convert(
    root: bytes, number: int, path: bytes, label: int, image_format: ImageFormat, stderr: CapturedStderr
) -> tuple[ConvertedImage, Pixels | None]:
    """Convert the image `root + path` to record `number`.

    Returns:
        The result, and the pixels for the mean (None if there is no record).
    """
    image = ConvertedImage(number, path, label)
    try:
        if len(image.key) > LONGEST_KEY:
            why = f"its key would have {len(image.key)} bytes; LMDB allows {LONGEST_KEY}"
            raise UnusableImage("path too long", why)
        data = _read(root + path)
        image.digest = xxhash.xxh3_128_digest(data)
        image.record, pixels, remarks = _make_record(path, data, label, image_format, stderr)
    except UnusableImage as error:
        image.problems = (Problem(printable(path), label, error.kind, error.why),)
        return image, None
    except MemoryError:
        raise
    except Exception as error:  # any exception of a library: one image must not stop the others
        stderr.take_first_line()
        why = str(getattr(error, "err", "") or error).strip().partition("\n")[0]  # OpenCV's, without its source lines
        image.problems = (Problem(printable(path), label, "damaged", f"{type(error).__name__}: {why}"),)
        return image, None
    image.problems = tuple(Problem(printable(path), label, kind, why, kept=True) for kind, why in remarks)
    height, width = pixels.shape[:2]
    image.shape = (1 if pixels.ndim == 2 else pixels.shape[2], height, width)
    return image, pixels


def pixels_of(record: bytes, image_format: ImageFormat) -> Pixels:
    """Decode the pixels of a record as Caffe does (with force_color or force_gray if files are stored as they are)."""
    datum = pb.Datum.FromString(record)
    if datum.encoded:
        decoded = decode(datum.data, cv2.IMREAD_UNCHANGED)
        if decoded is None or _differs(decoded, image_format):
            decoded = decode(datum.data, image_format.imread_flag)
        assert decoded is not None  # it was decoded when the record was made
        return decoded
    planes = np.frombuffer(datum.data, np.uint8).reshape(datum.channels, datum.height, datum.width)
    return planes[0] if datum.channels == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0))


def _read(path: bytes) -> bytes:
    """Read an image file.

    Raises:
        UnusableImage: it cannot be read, or it is empty.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe would block
        try:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                raise UnusableImage("unreadable", "not a regular file")
            with open(opened, "rb", buffering=0, closefd=False) as file:
                data = file.readall()
        finally:
            os.close(opened)
    except FileNotFoundError:
        raise UnusableImage("no such file", f"{printable(path)} does not exist") from None
    except (OSError, ValueError) as error:
        raise UnusableImage("unreadable", getattr(error, "strerror", None) or str(error)) from None
    if not data:
        raise UnusableImage("empty", "zero bytes")
    return data


def _make_record(
    path: bytes, data: bytes, label: int, image_format: ImageFormat, stderr: CapturedStderr
) -> tuple[bytes, Pixels, list[Remark]]:
    """Make the record of the image file `data`.

    Returns:
        The serialized Datum, the pixels as Caffe decodes them, and remarks.
    """
    kind, stores_file = detect_kind(data), image_format.stores_file(path)
    _check_kind(kind, stores_file, image_format)
    pixels, remarks = _decode(data, kind, stores_file, image_format, stderr)
    remarks += [remark for remark in _of_16_bits(data, kind, stderr) if remark[0] == _DARK or not stores_file]
    if stores_file:
        if _differs(pixels, image_format):
            remarks.append(("different format", f"stored as it is: {_describe(pixels)}"))
            forced = decode(data, image_format.imread_flag)
            stderr.take_first_line()
            if forced is None:  # for example, floats
                why = f"{kind.upper()} that OpenCV cannot decode as {image_format.colour}"
                raise UnusableImage("damaged", why)
            pixels = forced
        if _UPRIGHT < (turn := orientation(data, kind)) <= _LARGEST_ORIENTATION:
            why = f"EXIF orientation {turn}, which Caffe applies only with force_{image_format.colour}"
            remarks.append(("rotated", why))
        return _serialize_encoded(data, label), pixels, remarks
    if image_format.resizes:
        pixels = cv2.resize(pixels, (image_format.width, image_format.height))  # type: ignore[assignment]
    if not image_format.encodes:
        return _serialize_pixels(pixels, label), pixels, remarks
    encode_type = image_format.type_of(path)
    encoded = _encode(pixels, encode_type)
    if encode_type not in LOSSLESS:  # Caffe, and compute_image_mean, will see the decoded pixels
        decoded = decode(encoded, image_format.imread_flag)
        if decoded is None:
            why = f"encoded as {encode_type!r}, it cannot be decoded: give --encode-type"
            raise UnusableImage("no encode type", why)
        pixels = decoded
    stderr.take_first_line()
    return _serialize_encoded(encoded, label), pixels, remarks


def _check_kind(kind: str, stores_file: bool, image_format: ImageFormat) -> None:
    if kind in UNREADABLE_BY_CAFFE:
        why = f"{kind.upper()}, which Caffe's OpenCV cannot read: convert it to JPEG or PNG"
        raise UnusableImage("unsupported", why)
    if stores_file and kind in UNREADABLE_FROM_LMDB:
        raise _unreadable_from_lmdb(kind)
    if kind == "hdr" and image_format.gray:
        why = "HDR, which Caffe's OpenCV cannot convert to grey: convert it to JPEG or PNG"
        raise UnusableImage("unsupported", why)


def _unreadable_from_lmdb(kind: str) -> UnusableImage:
    why = f"{kind.upper()}, which Caffe cannot decode from an LMDB: give --encode-type jpg"
    return UnusableImage("unsupported", why)


def _decode(
    data: bytes, kind: str, stores_file: bool, image_format: ImageFormat, stderr: CapturedStderr
) -> tuple[Pixels, list[Remark]]:
    """Decode the pixels of an image file, and return remarks about them."""
    flag = cv2.IMREAD_UNCHANGED if stores_file else image_format.imread_flag
    pixels, message = decode(data, flag), stderr.take_first_line()
    no_end = kind == "jpeg" and lacks_end_marker(data)
    if pixels is None and no_end:
        repaired, complaint = decode(data + END_MARKER, flag), stderr.take_first_line()  # as libjpeg adds it for files
        if repaired is None or complaint:
            raise UnusableImage("truncated", "a truncated JPEG: only a part of it, or nothing, can be decoded")
        if stores_file:
            why = "a JPEG without its end, which Caffe cannot decode from an LMDB: save it again"
            raise UnusableImage("truncated", why)
        pixels = repaired
    if pixels is None:
        raise _undecodable(data, kind, message)
    if no_end:
        return pixels, [("damaged?", "its end is missing, and perhaps the lower part of the picture")]
    if message.startswith("Corrupt JPEG data"):  # libjpeg repairs what it can, also for Caffe
        return pixels, [("damaged?", message)]
    return pixels, []


def _of_16_bits(data: bytes, kind: str, stderr: CapturedStderr) -> list[Remark]:
    """Remark on what Caffe keeps of an image of 16 bits: without force_color or force_gray, it decodes none."""
    if not may_have_16_bits(data, kind):
        return []
    values = decode(data, cv2.IMREAD_UNCHANGED)
    stderr.take_first_line()
    if values is None or values.dtype != np.uint16:
        return []
    brightest = int(values.max()) >> 8
    return [(_DARK if brightest <= DARK else "of 16 bits", f"at most {brightest} of 255 is left")]


def _undecodable(data: bytes, kind: str, message: str) -> UnusableImage:
    if not kind:
        return UnusableImage("not an image", f"it begins with {data[:12]!r}")
    # OpenCV's own messages, in brackets, name lines of its source
    reason = f": {message}" if message and not message.startswith("[") else ""
    return UnusableImage("damaged", f"{kind.upper()} that cannot be decoded{reason}")


def _encode(pixels: Pixels, encode_type: str) -> bytes:
    if not encode_type:
        raise UnusableImage("no encode type", "its name has no extension to encode it as: give --encode-type")
    if encode_type in UNREADABLE_FROM_LMDB:
        raise _unreadable_from_lmdb(encode_type)
    try:
        done, encoded = cv2.imencode(f".{encode_type}", pixels)
    except cv2.error:
        done = False
    if not done:
        raise UnusableImage("no encode type", f"OpenCV cannot encode it as {encode_type!r}: give --encode-type")
    return encoded.tobytes()


def _serialize_encoded(data: bytes, label: int) -> bytes:
    return pb.Datum(data=data, label=label, encoded=True).SerializeToString()


def _serialize_pixels(pixels: Pixels, label: int) -> bytes:
    planes = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return pb.Datum(
        channels=1 if pixels.ndim == 2 else len(planes), height=pixels.shape[0], width=pixels.shape[1],
        data=planes.tobytes(), label=label, encoded=False,
    ).SerializeToString()  # fmt: skip


def _differs(pixels: npt.NDArray[Any], image_format: ImageFormat) -> bool:
    """Check whether an image, decoded as it is stored, has other channels or another depth than the format."""
    return pixels.dtype != np.uint8 or (pixels.shape[2] if pixels.ndim == 3 else 1) != image_format.channels


def _describe(pixels: npt.NDArray[Any]) -> str:
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    what = {1: "grey", 2: "grey with alpha", 3: "colour", 4: "colour with alpha"}.get(channels, f"{channels} channels")
    return what if pixels.dtype == np.uint8 else f"{what}, {8 * pixels.itemsize} bits per value"
