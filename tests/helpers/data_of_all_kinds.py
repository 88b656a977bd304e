"""Data for nets that read several kinds of it: a list of images, and HDF5 files of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import numpy.typing as npt

from tests.helpers.lmdbs import CLASSES

LISTED = 41  # images


def write_list_and_rows(home: Path, images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
    """Write `images.txt`, a list of the first images below `images/`, and `rows.txt`, of two HDF5 files of 22 rows."""
    (home / "images").mkdir()
    lines = []
    for number, (image, label) in enumerate(zip(images[:LISTED], labels, strict=False)):
        (home / f"images/{number}.png").write_bytes(cv2.imencode(".png", image[0])[1].tobytes())
        lines.append(f"{number}.png {label}\n")
    (home / "images.txt").write_text("".join(lines))
    for file, rows in enumerate((5, 17)):
        with h5py.File(home / f"rows{file}.h5", "w") as out:
            out["vector"] = np.random.default_rng(file).normal(size=(rows, 3))
            out["vector_label"] = np.arange(rows) % CLASSES
    (home / "rows.txt").write_text("rows0.h5\nrows1.h5\n")
