"""Small data sets."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np

from harness.caffe_files.messages import pb

CLASSES, SIDE, RECORDS = 5, 12, 203  # 203 records: no batch size divides them, so batches wrap around


def write_lmdb(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Write an LMDB of raw datums with keys like those of convert_imageset.

    `images` is uint8 (n, channels, height, width), `labels` (n,).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(path), map_size=1 << 30) as environment, environment.begin(write=True) as transaction:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            channels, height, width = image.shape
            datum = pb.Datum(channels=channels, height=height, width=width, data=image.tobytes(), label=int(label))
            transaction.put(f"{number:08d}_img{number}.png".encode(), datum.SerializeToString())
    return path


def digits(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Learnable noise: class k has a bright block at place k. uint8 (count, 1, SIDE, SIDE), labels (count,)."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    images = random.integers(0, 120, (count, 1, SIDE, SIDE))
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * label : 2 * label + 3, 3:9] += 130
    return images.astype(np.uint8), labels
