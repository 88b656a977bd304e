"""Image files as OpenCV 4.6, which Caffe is built with, decodes them; by OpenCV 5.0, which is in the venv.

On these kinds the two were compared, in colour and grey: JPEG (progressive, CMYK, with EXIF, damaged), PNG (palette,
alpha, 16 bits, animated), BMP, TIFF, WebP, JPEG 2000, PNM, Sun raster and Radiance HDR. They differ so:

- 5.0 reads GIF, AVIF and animated WebP; 4.6 does not.
- 5.0 turns WebP as its EXIF says; 4.6 does not. Here it is not turned either.
- Of an animated PNG, 5.0 shows the first frame, and makes another grey of it; 4.6 shows the image that is there for
  readers that know of no animation. Here the animation is hidden from 5.0.
- 4.6 makes no grey image of Radiance HDR, but one of three channels. That is refused.
- Of a JPEG without its end, 4.6 gives what there is when it reads a file, as convert_imageset does. From memory, as
  Caffe does when it trains on encoded images, it leaves the lower part unset, or gives nothing. 5.0, which is given
  memory here, gives nothing.
- From memory as Caffe has it (a vector of char: DecodeDatumToCVMat in util/io.cpp), 4.6 decodes no WebP at all.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]  # (height, width) or (height, width, channels), BGR

UNKNOWN_TO_CAFFE = ("gif", "avif", "jxl", "heic", "animated webp")
DEAF_TO_ENCODED = ("webp",)  # Caffe reads such files, but cannot decode them from an LMDB
END = b"\xff\xd9"  # of a JPEG

_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")  # that has a length behind it, or ends the JPEG
_APP1, _SCAN = b"\xe1", b"\xda"
_ORIENTATION = 0x0112  # EXIF

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


def kind_of(data: bytes) -> str:
    """What kind of image `data` begins as; empty: none."""
    if data[8:16] == b"WEBPVP8X" and data[20:21] and data[20] & 2:
        return "animated webp"
    return next((kind for kind, sign in _SIGNS if re.match(sign, data, re.DOTALL)), "")


def decode(data: bytes, flag: int) -> Pixels | None:
    """The pixels that OpenCV 4.6 gives of a file (or of what is in an LMDB, where it gives any)."""
    if data.startswith(b"RIFF"):
        flag |= cv2.IMREAD_IGNORE_ORIENTATION
    elif data.startswith(b"\x89PNG"):
        data = _still(data)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flag)  # type: ignore[return-value]
    except cv2.error:  # more pixels than it allows, for one
        return None


def _still(png: bytes) -> bytes:
    """A PNG without the chunk that says it is animated; readers ignore the other frames then."""
    found = png.find(b"acTL", 8, max(png.find(b"IDAT"), 0))
    return png if found < 0 else png[: found - 4] + png[found + 16 :]  # length, name, two numbers, checksum


def lacks_its_end(jpeg: bytes) -> bool:
    """Whether there is no end marker; those of a thumbnail, or of what a camera appends, do not count."""
    return not jpeg.endswith(END) and all(marker != END[1:] for marker, _ in _segments(jpeg))


def orientation(data: bytes, kind: str) -> int:
    """The EXIF orientation (1: upright) that OpenCV heeds when it is told which channels to give, and else does not.

    That of a TIFF it heeds always, that of others never.
    """
    if not (b"eXIf" in data if kind == "png" else kind == "jpeg" and _has_exif(data)):
        return 1
    from PIL import Image  # it takes 0.03 s, and few images need it

    try:
        with Image.open(io.BytesIO(data)) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow has many for odd EXIF data, and OpenCV has decoded the image
        return 1


def _has_exif(jpeg: bytes) -> bool:
    for marker, place in _segments(jpeg):
        if marker == _APP1 and jpeg.startswith(b"Exif\0", place + 2):
            return True
        if marker == _SCAN:
            break
    return False


def _segments(jpeg: bytes) -> Iterator[tuple[bytes, int]]:
    """The markers of a JPEG, in their order, and where their lengths are."""
    place = 2
    while match := _MARKER.search(jpeg, place):
        yield match[1], match.end()
        place = match.end() + int.from_bytes(jpeg[match.end() : match.end() + 2], "big")
