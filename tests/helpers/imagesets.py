"""Folders of images, and the records that `make_lmdb` and Caffe's own tools make of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np

from tests.helpers.paths import BIN, ROOT
from tests.helpers.processes import command

MAKE_LMDB = (sys.executable, str(ROOT / "harness/make_lmdb.py"))


def photo(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A smooth BGR image with noise: uint8 (height, width, 3)."""
    coarse = random.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noisy: np.ndarray = np.clip(smooth + random.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
    return noisy


def write_photos(home: Path, names: list[str], seed: int = 1, size: int | None = None) -> None:
    """Write images of different sizes, or all `size` × `size`."""
    random = np.random.default_rng(seed)
    for name in names:
        height, width = (size, size) if size else map(int, random.integers(30, 90, 2))
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(home / name), photo(random, height, width))


def records(path: Path) -> dict[bytes, bytes]:
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {bytes(key): bytes(value) for key, value in transaction.cursor()}


def convert_imageset(root: Path, listed: Path, out: Path, *options: str) -> dict[bytes, bytes]:
    """Run Caffe's own tool and return the records that it writes."""
    done = command(BIN / "convert_imageset", *options, f"{root}/", listed, out)
    assert done.code == 0, done.stderr
    return records(out)


def report_of(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report
