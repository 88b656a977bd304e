"""Batches of Caffe's own data layers and of the prefetch process."""

from __future__ import annotations

from pathlib import Path

import caffe
import numpy as np

from harness.prefetch.client import PrefetchClient

SEED = 1234567  # of Caffe's generator


def forwards(net_file: Path, phase: str, count: int) -> list[Arrays]:
    net = caffe.Net(str(net_file), getattr(caffe, phase))
    found = []
    for _ in range(count):
        net.forward()
        found.append((net.blobs["data"].data.copy(), net.blobs["label"].data.copy()))
    return found


def take(feed: PrefetchClient, count: int) -> list[Arrays]:
    """Copies of the next `count` batches."""
    return [tuple(array.copy() for array in feed.next()) for _ in range(count)]  # type: ignore[misc]


Arrays = tuple[np.ndarray, np.ndarray]
