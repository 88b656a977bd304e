"""Compute the mean of many images: of every pixel, and of every channel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from harness.caffe_files.messages import pb

LARGEST = 1 << 20  # pixels of a mean image: no net reads larger ones, and their sums are saved with every batch


@dataclass
class Sums:
    """Sums over images.

    Attributes:
        channels: sums of the images' own means: images count equally, whatever their sizes.
        image: sum of all pixels, (height, width) or (height, width, channels), integers in float64; None before the
            first image, and permanently (`imageless`) if images differ in size or are too large for a mean image.
    """

    count: int = 0
    channels: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    image: npt.NDArray[Any] | None = None
    imageless: bool = False

    def add(self, pixels: npt.NDArray[np.uint8], sign: int = 1) -> None:
        """Add an image or, with sign -1, subtract one that was added."""
        self.count += sign
        self.channels += sign * np.array(cv2.mean(pixels)[:3])
        if not self.imageless and self._fits(pixels.shape):
            assert self.image is not None
            if sign > 0:
                cv2.accumulate(pixels, self.image)
            else:
                self.image -= pixels

    def packed(self) -> Sums:
        """Return the same sums in a quarter of the memory; they must be of at most 257 images."""
        image = None if self.image is None else self.image.astype(np.uint16)
        return Sums(self.count, self.channels, image, self.imageless)

    def merge(self, other: Sums) -> None:
        self.count += other.count
        self.channels += other.channels
        if other.imageless:
            self.image, self.imageless = None, True
        elif other.image is not None and not self.imageless and self._fits(other.image.shape):
            assert self.image is not None
            self.image += other.image

    def _fits(self, shape: tuple[int, ...]) -> bool:
        if self.image is None:
            if shape[0] * shape[1] <= LARGEST:
                self.image = np.zeros(shape)
            else:
                self.imageless = True
        elif self.image.shape != shape:
            self.image, self.imageless = None, True
        return not self.imageless

    @property
    def mean(self) -> npt.NDArray[np.float32] | None:
        """The mean image (channels, height, width).

        It equals that of compute_image_mean as long as its float32 sums are exact: up to 65,793 images.
        """
        if self.image is None or not self.count:
            return None
        planes = self.image[np.newaxis] if self.image.ndim == 2 else self.image.transpose(2, 0, 1)
        return (planes / self.count).astype(np.float32)

    def values(self, gray: bool) -> list[float]:
        """Return the mean of each channel (B, G, R, or grey), for `mean_value`."""
        mean = self.mean
        if mean is not None:
            return [float(value) for value in mean.mean(axis=(1, 2), dtype=np.float64)]
        return [float(value) for value in self.channels[: 1 if gray else 3] / max(1, self.count)]

    def to_bytes(self) -> bytes:
        """Serialize the sums for `from_bytes`."""
        shape = () if self.image is None else self.image.shape
        head = np.array([self.count, self.imageless, len(shape), *shape], np.int64)
        image = b"" if self.image is None else self.image.tobytes()
        return head.tobytes() + self.channels.tobytes() + image

    @classmethod
    def from_bytes(cls, data: bytes) -> Sums:
        count, imageless, axes = np.frombuffer(data, np.int64, 3).tolist()
        shape = np.frombuffer(data, np.int64, axes, 24).tolist()
        rest = 24 + 8 * axes
        channels = np.frombuffer(data, np.float64, 3, rest).copy()
        image = np.frombuffer(data, np.float64, offset=rest + 24).reshape(shape).copy() if axes else None
        return cls(count, channels, image, bool(imageless))


def mean_file(mean: npt.NDArray[np.float32]) -> bytes:
    """Serialize a mean image (channels, height, width) as the BlobProto of a `mean_file`."""
    channels, height, width = mean.shape
    blob = pb.BlobProto(num=1, channels=channels, height=height, width=width)
    blob.data.extend(mean.ravel().tolist())
    return blob.SerializeToString()
