"""Decode image files with the OpenCV 5.0 of the environment as OpenCV 4.6, with which Caffe is built, decodes them.

The two were compared, in colour and grey, on: JPEG (progressive, CMYK, with EXIF, damaged), PNG (palette, alpha, 16
bits, animated), BMP, TIFF, WebP, JPEG 2000, PNM, Sun raster and Radiance HDR. The differences:

- 5.0 reads GIF, AVIF and animated WebP; 4.6 does not.
- 5.0 applies the EXIF orientation of a WebP; 4.6 does not. Here it is not applied.
- 5.0 decodes the first frame of an animated PNG, and converts it to a different grey; 4.6 decodes the default image,
  for readers without support for animation. Here the animation is hidden from 5.0.
- 4.6 decodes Radiance HDR as grey to three channels. That is refused.
- From a JPEG file without its end, 4.6 decodes what there is; convert_imageset reads files. From memory, which Caffe
  uses when it trains on encoded images, it leaves the lower part unset, or decodes nothing. 5.0, which is used with
  memory here, decodes nothing.
- From memory as Caffe holds it (a vector of char: DecodeDatumToCVMat in util/io.cpp), 4.6 decodes no WebP at all.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]  # (height, width) or (height, width, channels), BGR

UNREADABLE_BY_CAFFE = ("gif", "avif", "jxl", "heic", "animated webp")
UNREADABLE_FROM_LMDB = ("webp",)  # Caffe reads such files, but cannot decode them from an LMDB
END_MARKER = b"\xff\xd9"  # of a JPEG

_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")  # one that is followed by a length, or ends the JPEG
_APP1, _SCAN = b"\xe1", b"\xda"
_ORIENTATION = 0x0112  # EXIF

_SIGNATURES = (
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


def detect_kind(data: bytes) -> str:
    """Return the kind of image whose signature `data` begins with; empty if there is none."""
    if data[8:16] == b"WEBPVP8X" and data[20:21] and data[20] & 2:
        return "animated webp"
    return next((kind for kind, signature in _SIGNATURES if re.match(signature, data, re.DOTALL)), "")


def decode(data: bytes, flag: int) -> Pixels | None:
    """Decode a file as OpenCV 4.6 does (or what is in an LMDB, if 4.6 decodes it)."""
    if data.startswith(b"RIFF"):
        flag |= cv2.IMREAD_IGNORE_ORIENTATION
    elif data.startswith(b"\x89PNG"):
        data = _without_animation(data)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flag)  # type: ignore[return-value]
    except cv2.error:  # for example, more pixels than it allows
        return None


def _without_animation(png: bytes) -> bytes:
    """Remove the chunk that marks a PNG as animated; readers then ignore the other frames."""
    found = png.find(b"acTL", 8, max(png.find(b"IDAT"), 0))
    return png if found < 0 else png[: found - 4] + png[found + 16 :]  # length, name, two numbers, checksum


def lacks_end_marker(jpeg: bytes) -> bool:
    """Check whether a JPEG has no end marker; those of a thumbnail, or of what a camera appends, do not count."""
    return not jpeg.endswith(END_MARKER) and all(marker != END_MARKER[1:] for marker, _ in _segments(jpeg))


def orientation(data: bytes, kind: str) -> int:
    """Return the EXIF orientation (1: upright) that OpenCV applies only if the number of channels is requested.

    That of a TIFF is always applied, that of other kinds never.
    """
    if not (b"eXIf" in data if kind == "png" else kind == "jpeg" and _has_exif(data)):
        return 1
    from PIL import Image  # here, because the import takes 0.03 s and few images need it

    try:
        with Image.open(io.BytesIO(data)) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow raises many kinds for odd EXIF data; OpenCV has decoded the image
        return 1


def _has_exif(jpeg: bytes) -> bool:
    for marker, position in _segments(jpeg):
        if marker == _APP1 and jpeg.startswith(b"Exif\0", position + 2):
            return True
        if marker == _SCAN:
            break
    return False


def _segments(jpeg: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the markers of a JPEG in their order, and the positions of their lengths."""
    position = 2
    while match := _MARKER.search(jpeg, position):
        yield match[1], match.end()
        position = match.end() + int.from_bytes(jpeg[match.end() : match.end() + 2], "big")
