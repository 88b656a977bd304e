"""Tell the kinds of image files by their first bytes, and what Caffe's OpenCV 4.6 reads of them.

`imageset/decoding.py` says how OpenCV 4.6 differs from the OpenCV of the environment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

UNREADABLE_BY_CAFFE = ("gif", "avif", "jxl", "heic", "animated webp")
UNREADABLE_FROM_LMDB = ("webp",)  # Caffe reads such files, but cannot decode them from an LMDB
END_MARKER = b"\xff\xd9"  # of a JPEG

_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")  # one that is followed by a length, or ends the JPEG
_APP1, _SCAN = b"\xe1", b"\xda"
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


def lacks_end_marker(jpeg: bytes) -> bool:
    """Check whether a JPEG has no end marker; those of a thumbnail, or of what a camera appends, do not count."""
    return not jpeg.endswith(END_MARKER) and all(marker != END_MARKER[1:] for marker, _ in _segments(jpeg))


def has_exif(data: bytes, kind: str) -> bool:
    """Check whether an image of that `kind` has EXIF data that OpenCV heeds."""
    if kind != "jpeg":
        return kind == "png" and b"eXIf" in data
    for marker, position in _segments(data):
        if marker == _APP1 and data.startswith(b"Exif\0", position + 2):
            return True
        if marker == _SCAN:
            break
    return False


def png_bits(png: bytes) -> int:
    """Return the number of bits of a value of a PNG, as its header has it; 8 for fewer, which OpenCV expands."""
    return max(png[24], 8) if len(png) > 24 else 8


def may_have_16_bits(data: bytes, kind: str) -> bool:
    """Check whether an image of that `kind` may have more than 8 bits a value; a PNG tells it in its header."""
    return png_bits(data) > 8 if kind == "png" else kind in ("tiff", "jp2", "pnm", "ras")


def _segments(jpeg: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the markers of a JPEG in their order, and the positions of their lengths."""
    position = 2
    while match := _MARKER.search(jpeg, position):
        yield match[1], match.end()
        position = match.end() + int.from_bytes(jpeg[match.end() : match.end() + 2], "big")
