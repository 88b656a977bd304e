"""Make the batches of a WindowData layer as Caffe does, bit for bit (WindowDataLayer::load_batch)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from google.protobuf import text_format

from harness.caffe_files.mean_file import Floats, read_mean
from harness.caffe_files.messages import pb
from harness.caffe_files.transformer_rng import mt19937
from harness.caffe_files.window_file import WindowFile, read_window_file
from harness.prefetch.shared_batch import Batch, BatchShape
from harness.schemas.stream import Stream, Windows

_CHANNELS = 3


def fill_windows(stream: Stream, windows: Windows, drawn: int, free: Iterator[Batch]) -> Iterator[BatchShape]:
    """Fill batches of windows after `drawn` outputs of the layer's generator.

    Raises:
        ValueError: an image or a window that Caffe could not use either.
        OSError: the window file cannot be read.
    """
    param = text_format.Parse(windows.param, pb.WindowDataParameter())
    transform = text_format.Parse(stream.transform, pb.TransformationParameter())
    found = read_window_file(Path(stream.source))
    choice = WindowChoice.of(found, param, stream.batch_size)
    random = mt19937(stream.seed or 0, drawn)
    warp = _Warp(param, transform)
    for batch in free:
        draws = random.random_raw((stream.batch_size, 1 + transform.mirror))
        shape = (stream.batch_size, _CHANNELS, transform.crop_size, transform.crop_size)
        images, labels = batch.arrays(shape)
        images[...] = 0
        for item, (number, drawn_here) in enumerate(zip(choice.windows(draws), draws.tolist(), strict=True)):
            warp(found, number, transform.mirror and bool(drawn_here[1] % 2), images[item])
            labels[item] = 0 if item < choice.behind else found.label[number]
        yield shape


@dataclass(frozen=True)
class WindowChoice:
    """How a WindowData layer chooses the windows of a batch.

    Attributes:
        background, foreground: the numbers of the windows that it chooses from.
        behind: how many background windows a batch has; they come first in it.
    """

    background: npt.NDArray[np.int64]
    foreground: npt.NDArray[np.int64]
    behind: int

    @classmethod
    def of(cls, found: WindowFile, param: pb.WindowDataParameter, batch_size: int) -> WindowChoice:
        """Return how a layer with `param` chooses from the windows of `found`."""
        in_front = int(np.float32(batch_size) * np.float32(param.fg_fraction))
        return cls(*found.sampled(param), batch_size - in_front)

    def windows(self, draws: npt.NDArray[np.uint64]) -> list[int]:
        """Return the numbers of the windows of a batch, as the first of the `draws` of each, (batch, n), decides."""
        first = draws[:, 0]
        behind = self.background[first[: self.behind] % len(self.background)]
        in_front = self.foreground[first[self.behind :] % len(self.foreground)]
        return [*behind.tolist(), *in_front.tolist()]


class _Warp:
    """Cuts a window out of its image, with its context, and warps it to the crop size.

    All numbers are float32, as Caffe computes them.
    """

    def __init__(self, param: pb.WindowDataParameter, transform: pb.TransformationParameter) -> None:
        self._root, self._cached = param.root_folder, param.cache_images
        self._pad, self._square = param.context_pad, param.crop_mode == "square"
        self._crop = transform.crop_size
        self._scale = np.float32(param.scale)
        self._mean: Floats | None = None  # (3, height, width), or (3 or 1, 1, 1)
        self._is_image = transform.HasField("mean_file")
        if self._is_image:
            self._mean = read_mean(Path(transform.mean_file))
        elif transform.mean_value:
            self._mean = np.array(transform.mean_value, np.float32).reshape(-1, 1, 1)

    def __call__(self, windows: WindowFile, number: int, mirrored: bool, out: Floats) -> None:
        """Write window `number` into `out` (3, crop, crop), which is 0."""
        name = windows.images[int(windows.image[number])]
        image = self._read(name)
        x1, y1, x2, y2 = windows.box[number].tolist()
        rows, columns = image.shape[:2]
        width = height = self._crop
        left = top = 0
        if self._pad > 0 or self._square:
            wide, high = x2 - x1 + 1, y2 - y1 + 1
            (x1, x2), width, (before, after) = self._widen(x1, wide, high, columns)
            (y1, y2), height, (top, _) = self._widen(y1, high, wide, rows)
            left = after if mirrored else before
            width, height = min(width, self._crop - left), min(height, self._crop - top)
        if not (0 <= x1 <= x2 < columns and 0 <= y1 <= y2 < rows) or min(width, height) < 1:
            raise ValueError(f"window {number} of {windows.source} does not lie in its image {name}")
        cut = cv2.resize(image[y1 : y2 + 1, x1 : x2 + 1], (width, height), interpolation=cv2.INTER_LINEAR)
        if mirrored:
            cut = cut[:, ::-1]
        self._transform(cut, out[:, top : top + height, left : left + width], top, left)

    def _widen(self, first: int, length: int, other: int, size: int) -> tuple[tuple[int, int], int, tuple[int, int]]:
        """Widen the window by its context along one axis of an image of `size` pixels.

        Args:
            first, length: its first pixel and its length along this axis.
            other: its length along the other axis.

        Returns:
            Its first and last pixel, clipped to the image; the size to which they are warped; the padding before and
            after them.
        """
        crop = np.float32(self._crop)
        scale = crop / np.float32(self._crop - 2 * self._pad)
        half = np.float32(length / 2)
        centre = np.float32(first) + half
        if self._square:
            half = np.float32(max(length, other) / 2)
        low, high = _round(centre - half * scale), _round(centre + half * scale)
        whole = crop / np.float32(high - low + 1)
        before, after = max(0, -low), max(0, high - size + 1)
        low, high = low + before, high - after
        warped = _round(np.float32(high - low + 1) * whole)
        return (low, high), warped, (_round(np.float32(before) * whole), _round(np.float32(after) * whole))

    def _transform(self, cut: npt.NDArray[Any], out: Floats, top: int, left: int) -> None:
        np.copyto(out, cut.transpose(2, 0, 1))
        mean = self._mean
        if mean is not None and self._is_image:
            offset = (mean.shape[2] - self._crop) // 2  # of the columns, and Caffe takes it for the rows as well
            mean = mean[:, offset + top :, offset + left :][:, : out.shape[1], : out.shape[2]]
        if mean is not None:
            np.subtract(out, mean, out=out)
        np.multiply(out, self._scale, out=out)

    def _read(self, name: str) -> npt.NDArray[Any]:
        path = os.fsencode(self._root + name)
        image: npt.NDArray[Any] | None
        if self._cached:  # ReadFileToDatum and DecodeDatumToCVMat, util/io.cpp
            image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        else:
            image = cv2.imread(os.fsdecode(path), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"image {name}: no such file, or not an image (root_folder: {self._root or 'not given'})")
        return image


def _round(value: np.float32) -> int:
    """Round halves away from zero, as round() of C does."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), float(value)))
