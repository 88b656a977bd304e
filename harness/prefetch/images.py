"""Decode a record of an LMDB, or an image file, and transform it as Caffe does, bit for bit.

Where Caffe would abort, a ValueError names the record and the problem.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from harness.caffe_files.formatting import format_shape, printable
from harness.caffe_files.mean_file import Floats, read_mean
from harness.caffe_files.messages import pb
from harness.schemas.stream import Files

Shape = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True)
class Image:
    """A decoded record: `pixels` uint8 or float32 (channels, height, width), in OpenCV's colour order (BGR)."""

    key: str
    pixels: npt.NDArray[Any]
    label: int


def decode(key: bytes, value: bytes, transform: pb.TransformationParameter) -> Image:
    """Decode the record `value`, a Datum (data_transformer.cpp, DecodeDatumToCVMat in util/io.cpp).

    Raises:
        ValueError: not a Datum, not an image of 8-bit pixels, fewer pixels than its shape requires.
    """
    name = printable(key)
    try:
        datum = pb.Datum.FromString(value)
    except DecodeError:
        raise ValueError(f"record {name}: not a Datum ({len(value)} bytes)") from None
    pixels = _decoded(name, datum.data, transform) if datum.encoded else _raw(name, datum)
    return Image(name, pixels, datum.label)


def read_file(path: bytes, label: int, files: Files) -> Image:
    """Read the image file `path` of a list (ReadImageToCVMat in util/io.cpp).

    Raises:
        ValueError: no such file, or not an image.
    """
    name = printable(path)
    flag = cv2.IMREAD_COLOR if files.colour else cv2.IMREAD_GRAYSCALE
    full = os.path.join(os.fsencode(files.directory), os.fsencode(files.root) + path)  # noqa: PTH118  # of bytes
    image: Any = cv2.imread(full, flag)  # type: ignore[call-overload]  # the path may not be valid as str
    if image is None:
        raise ValueError(f"record {name}: no such file, or not an image (root_folder: {files.root or 'not given'})")
    if files.height and files.width:
        image = cv2.resize(image, (files.width, files.height))
    return Image(name, _planes(image), label)


def _planes(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return image[np.newaxis] if image.ndim == 2 else image.transpose(2, 0, 1)


def _decoded(name: str, data: bytes, transform: pb.TransformationParameter) -> npt.NDArray[Any]:
    if transform.force_color and transform.force_gray:
        raise ValueError(f"record {name}: an encoded image, and force_color and force_gray exclude each other")
    flag = cv2.IMREAD_UNCHANGED
    if transform.force_color:
        flag = cv2.IMREAD_COLOR
    elif transform.force_gray:
        flag = cv2.IMREAD_GRAYSCALE
    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:  # for example, an empty buffer
        image = None
    if image is None:
        raise ValueError(f"record {name}: its {len(data)} bytes cannot be decoded as an image (damaged or cut short)")
    if image.dtype != np.uint8:
        raise ValueError(f"record {name}: an image of {image.dtype} pixels; Caffe reads only 8-bit images")
    return _planes(image)


def _raw(name: str, datum: pb.Datum) -> npt.NDArray[Any]:
    shape = datum.channels, datum.height, datum.width
    if min(shape) < 1:
        raise ValueError(f"record {name}: its channels, height and width are {format_shape(shape)}")
    data = datum.data  # a copy at every access
    values = np.frombuffer(data, np.uint8) if data else np.array(datum.float_data, np.float32)
    count = shape[0] * shape[1] * shape[2]
    if len(values) < count:
        raise ValueError(f"record {name}: {len(values)} pixel values, and {format_shape(shape)} needs {count}")
    return values[:count].reshape(shape)


@dataclass(frozen=True)
class Placement:
    """The part of an image that the net sees: from row `top` and column `left` on, and whether it is mirrored."""

    top: int
    left: int
    mirrored: bool


class Transformer:
    """Crop, mirror, subtract the mean, scale (DataTransformer, data_transformer.cpp), in float32.

    Args:
        phase: "TRAIN" crops at a random position, "TEST" in the centre.

    Raises:
        ValueError: both mean_file and mean_value; a mean_file that cannot be used.
    """

    def __init__(self, transform: pb.TransformationParameter, phase: str) -> None:
        if transform.HasField("mean_file") and transform.mean_value:
            raise ValueError("transform_param gives both mean_file and mean_value")
        self._crop = transform.crop_size
        self._mirror = transform.mirror
        self._random_crop = phase == "TRAIN"
        self._scale = np.float32(transform.scale)
        self._mean_file = transform.mean_file
        self._mean: Floats | None = None  # (channels, height, width), or (channels or 1, 1, 1)
        if transform.HasField("mean_file"):
            self._mean = read_mean(Path(self._mean_file))
        elif transform.mean_value:
            self._mean = np.array(transform.mean_value, np.float32).reshape(-1, 1, 1)

    def shape(self, image: Image) -> Shape:
        """Return the shape of the transformed image.

        Raises:
            ValueError: the image is smaller than the crop, or the mean does not fit it.
        """
        channels, height, width = image.pixels.shape
        if min(height, width) < self._crop:
            raise ValueError(f"record {image.key}: {height}×{width} pixels, smaller than crop_size {self._crop}")
        if self._mean is not None and self._mean_file and self._mean.shape != image.pixels.shape:
            raise ValueError(
                f"record {image.key}: {format_shape(image.pixels.shape)}, but {self._mean_file} is "
                f"{format_shape(self._mean.shape)}"
            )
        if self._mean is not None and len(self._mean) not in (1, channels):
            raise ValueError(f"record {image.key}: {channels} channels, but {len(self._mean)} mean_value")
        return (channels, self._crop, self._crop) if self._crop else (channels, height, width)

    def __call__(self, image: Image, draws: npt.NDArray[np.uint64], out: Floats) -> None:
        """Write the transformed image into `out`, whose shape is `shape(image)`.

        Args:
            draws: the outputs of the generator for this image, `draws_per_image` of them.
        """
        pixels, mean = image.pixels, self._mean
        place = self.placement(image, draws)
        mirrored = place.mirrored
        if self._crop:
            window = np.s_[:, place.top : place.top + self._crop, place.left : place.left + self._crop]
            pixels = pixels[window]
            if mean is not None and self._mean_file:
                mean = mean[window]
        np.copyto(out[:, :, ::-1] if mirrored else out, pixels)
        if mean is not None:
            np.subtract(out, mean[:, :, ::-1] if mirrored else mean, out=out)
        if self._scale != 1:
            np.multiply(out, self._scale, out=out)

    def placement(self, image: Image, draws: npt.NDArray[np.uint64]) -> Placement:
        """Tell which part of an image is cut out, and whether it is mirrored; `draws` as above."""
        mirrored = self._mirror and bool(draws[0] % 2)
        if not self._crop:
            return Placement(0, 0, mirrored)
        rows, columns = (size - self._crop for size in image.pixels.shape[1:])
        if self._random_crop:
            return Placement(int(draws[-2]) % (rows + 1), int(draws[-1]) % (columns + 1), mirrored)
        return Placement(rows // 2, columns // 2, mirrored)
