"""From a record to the numbers in a Data layer's top, with the bits of Caffe's own (data_transformer.cpp, io.cpp)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from google.protobuf import text_format

from harness.solver.messages import pb
from harness.solver.replay.stream import draws_per_image

Pixels = npt.NDArray[Any]


class Transformer:
    """DataTransformer in one phase. `transform` is the text of a TransformationParameter.

    Raises:
        ValueError: mean_file and mean_value, or force_color and force_gray, at once.
    """

    def __init__(self, transform: str, phase: str) -> None:
        self._param = text_format.Parse(transform, pb.TransformationParameter())
        self._crop = int(self._param.crop_size)
        self._scale = np.float32(self._param.scale)
        self._random_crop = phase == "TRAIN"
        self.draws = draws_per_image(self._param, phase)
        if self._param.mean_file and self._param.mean_value:
            raise ValueError("mean_file and mean_value cannot be given at the same time")
        if self._param.force_color and self._param.force_gray:
            raise ValueError("force_color and force_gray cannot be given at the same time")
        self._mean_image = _read_mean(Path(self._param.mean_file)) if self._param.mean_file else None
        self._mean_values = np.array(self._param.mean_value, np.float32)[:, None, None]

    def decode(self, datum: Any) -> Pixels:
        """The pixels of a Datum, (channels, height, width): uint8, or float32 from float_data.

        Raises:
            ValueError: they are no image, or not of 8 bits.
        """
        if not datum.encoded:
            shape = (datum.channels, datum.height, datum.width)
            pixels = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
            if len(pixels) != np.prod(shape):
                raise ValueError(f"{len(pixels)} pixels for {'×'.join(map(str, shape))}")
            return pixels.reshape(shape)
        flag = cv2.IMREAD_UNCHANGED
        if self._param.force_color or self._param.force_gray:
            flag = cv2.IMREAD_COLOR if self._param.force_color else cv2.IMREAD_GRAYSCALE
        image = cv2.imdecode(np.frombuffer(datum.data, np.uint8), flag) if datum.data else None
        if image is None:
            raise ValueError("the image cannot be decoded")
        if image.dtype != np.uint8:
            raise ValueError(f"an image of {8 * image.itemsize} bits a channel, and Caffe takes 8")
        return image[None] if image.ndim == 2 else image.transpose(2, 0, 1)

    def shape(self, pixels: Pixels) -> tuple[int, int, int]:
        """The shape that an image has in the top (DataTransformer::InferBlobShape)."""
        channels, height, width = pixels.shape
        return (channels, self._crop, self._crop) if self._crop else (channels, height, width)

    def transform(self, pixels: Pixels, numbers: npt.NDArray[np.uint64], out: npt.NDArray[np.float32]) -> None:
        """Crop, mirror, subtract the mean, scale: `pixels` into `out`. `numbers` are the image's `draws` outputs.

        Raises:
            ValueError: shapes do not fit.
        """
        height, width = pixels.shape[1:]
        if self._crop > min(height, width):
            raise ValueError(f"{height}×{width} pixels are fewer than crop_size {self._crop}")
        if self.shape(pixels) != out.shape:
            raise ValueError(
                f"an image of {'×'.join(map(str, self.shape(pixels)))} among those of {'×'.join(map(str, out.shape))}"
            )
        drawn = iter(numbers.tolist())
        mirrored = self._param.mirror and next(drawn) % 2
        top, left = 0, 0
        if self._crop and self._random_crop:
            top, left = next(drawn) % (height - self._crop + 1), next(drawn) % (width - self._crop + 1)
        elif self._crop:
            top, left = (height - self._crop) // 2, (width - self._crop) // 2
        area = np.s_[:, top : top + out.shape[1], left : left + out.shape[2]]
        target = out[:, :, ::-1] if mirrored else out
        mean = self._mean(pixels.shape)
        if mean is None:
            np.multiply(pixels[area], self._scale, out=target)
            return
        np.subtract(pixels[area], mean[area] if mean.shape == pixels.shape else mean, out=target)
        if self._scale != 1:
            np.multiply(out, self._scale, out=out)

    def _mean(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32] | None:
        if self._mean_image is not None:
            if self._mean_image.shape != shape:
                raise ValueError(
                    f"{'×'.join(map(str, shape))} pixels, and {'×'.join(map(str, self._mean_image.shape))} in mean_file"
                )
            return self._mean_image
        if not len(self._mean_values):
            return None
        if len(self._mean_values) not in (1, shape[0]):
            raise ValueError(f"{len(self._mean_values)} mean_value for {shape[0]} channels")
        return self._mean_values


def _read_mean(path: Path) -> npt.NDArray[np.float32]:
    blob = pb.BlobProto.FromString(path.read_bytes())
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else (blob.num, blob.channels, blob.height, blob.width)
    return np.array(blob.data, np.float32).reshape(shape[-3:])
