"""Draw the images of the full-size run: those of prototxt/googlenet280/make_images.py, some of them 12-bit scans."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.caffe_files.messages import pb
from prototxt.glyphs280.make_data import CLASSES, alphabet, faces, shuffled_labels
from prototxt.googlenet280.make_images import QUALITY, SEED, SIDE, glyph
from tools.bench.nets import write_lmdb


def write_images(path: Path, count: int, scans: range, encoded: bool = True) -> None:
    """Write an LMDB of `count` images, as a whole or not at all.

    Those whose number is in `scans` are dark on white paper, of 12 bits, and stored as they were read: as `float_data`
    from 0 to 4095, which is what caffe.io.array_to_datum makes of any array that is not uint8, with keys in `.tif`. All
    others are JPEGs, or, unless `encoded`, their pixels. Each class has three colours.
    """
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        os.replace(write_lmdb(Path(scratch, "fresh"), _records(count, scans, encoded)), path)


def _records(count: int, scans: range, encoded: bool) -> Iterator[tuple[bytes, bytes]]:
    random = np.random.default_rng([SEED, 0])
    chars = alphabet(False, CLASSES)
    colours = random.uniform(0, 255, (CLASSES, 3, 3)).astype(np.float32)
    for number, label in enumerate(shuffled_labels(count, CLASSES, random).tolist()):
        image = _drawing(chars[label], colours[label], random)
        name = f"{number:08d}_U+{ord(chars[label]):04X}/{number:05d}"
        if number in scans:
            pixels = (255.0 - image.transpose(2, 0, 1)) * (4095 / 255)
            datum = pb.Datum(channels=3, height=SIDE, width=SIDE, label=label, float_data=np.rint(pixels).ravel())
            yield f"{name}.tif".encode(), datum.SerializeToString()
        elif not encoded:
            pixels = np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.uint8)
            datum = pb.Datum(channels=3, height=SIDE, width=SIDE, label=label, data=pixels.tobytes())
            yield f"{name}.png".encode(), datum.SerializeToString()
        else:
            jpeg = cv2.imencode(".jpg", image.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
            yield f"{name}.jpg".encode(), pb.Datum(data=jpeg, label=label, encoded=True).SerializeToString()


def _drawing(char: str, colours: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """Draw a glyph in the first colour on a gradient of the two others, with noise: BGR (SIDE, SIDE, 3), 0 to 255."""
    face = faces()[random.integers(len(faces()))]
    ink_size, angle, shift = int(random.integers(140, 170)), random.uniform(-8, 8), random.uniform(-8, 8, 2)
    cover = glyph(char, face, ink_size, angle, shift)[..., None]
    ink, above, below = colours + random.normal(0, 3, (3, 3)).astype(np.float32)
    fade = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None, None]
    image = cover * ink + (1 - cover) * (above + fade * (below - above))
    noisy: NDArray[np.float32] = image + random.uniform(2, 12) * random.standard_normal((SIDE, SIDE, 3), np.float32)
    return np.clip(noisy, 0, 255)
