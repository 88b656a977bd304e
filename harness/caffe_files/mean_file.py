"""Read the mean image that a data layer subtracts, a BlobProto that compute_image_mean writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from harness.caffe_files.formatting import format_shape
from harness.caffe_files.messages import has_field, pb

Floats = npt.NDArray[np.float32]


def read_mean(path: Path) -> Floats:
    """Read the mean image in the BlobProto file `path`, (channels, height, width) (Blob::FromProto, blob.cpp).

    Raises:
        ValueError: not readable, or not such a blob.
    """
    try:
        blob = pb.BlobProto.FromString(path.read_bytes())
    except OSError as error:
        raise ValueError(f"cannot read mean_file {path} ({error.strerror})") from None
    except DecodeError:
        raise ValueError(f"mean_file {path} is not a BlobProto") from None
    if any(has_field(blob, name) for name in ("num", "channels", "height", "width")):
        shape = [blob.num, blob.channels, blob.height, blob.width]
    else:
        shape = list(blob.shape.dim)
    values = np.array(blob.double_data or blob.data, np.float32)
    if not 1 <= len(shape) <= 4 or len(values) == 0 or len(values) != np.prod(shape):
        raise ValueError(f"mean_file {path}: {len(values)} values in a blob of shape {format_shape(shape)}")
    shape += [1] * (4 - len(shape))  # as Blob::LegacyShape reads it; only the first image is used
    mean: Floats = values.reshape(shape)[0]
    return mean
