"""The format in which images are stored: convert_imageset's options."""

from __future__ import annotations

import os
from dataclasses import dataclass

import cv2

LOSSLESS = ("png", "bmp", "ppm", "pgm", "tif", "tiff")


@dataclass(frozen=True)
class ImageFormat:
    """Channels, size and encoding of the images in the records."""

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
    def channels(self) -> int:
        return 1 if self.gray else 3

    @property
    def colour(self) -> str:
        """The colour, as in the fields force_color and force_gray of transform_param."""
        return "gray" if self.gray else "color"

    @property
    def imread_flag(self) -> int:
        return cv2.IMREAD_GRAYSCALE if self.gray else cv2.IMREAD_COLOR

    def type_of(self, path: bytes) -> str:
        """Return the type in which the image `path` is encoded; empty for pixels, or if it is not known."""
        return self.encode_type or (_extension(path) if self.encoded else "")

    def stores_file(self, path: bytes) -> bool:
        """Check whether the bytes of the file itself are stored."""
        own, wanted = _extension(path), self.type_of(path)
        return self.encodes and not self.resizes and (own == wanted or (wanted == "jpg" and own == "jpeg"))


def _extension(path: bytes) -> str:
    return os.fsdecode(path).rpartition(".")[2].lower() if b"." in path else ""
