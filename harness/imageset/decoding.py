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

import cv2
import numpy as np
import numpy.typing as npt

from harness.caffe_files.image_kinds import has_exif

Pixels = npt.NDArray[np.uint8]  # (height, width) or (height, width, channels), BGR

_ORIENTATION = 0x0112  # EXIF


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


def orientation(data: bytes, kind: str) -> int:
    """Return the EXIF orientation (1: upright) that OpenCV applies only if the number of channels is requested.

    That of a TIFF is always applied, that of other kinds never.
    """
    if not has_exif(data, kind):
        return 1
    from PIL import Image  # here, because the import takes 0.03 s and few images need it

    try:
        with Image.open(io.BytesIO(data)) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow raises many kinds for odd EXIF data; OpenCV has decoded the image
        return 1
