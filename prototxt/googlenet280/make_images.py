"""Draw images with which to try the full-size nets: 280 classes, 256×256, colour, as LMDBs of JPEGs.

    python prototxt/googlenet280/make_images.py [--train N] [--test N] [--out DIR]

They are written to data/train_lmdb and data/test_lmdb, from which train_val.prototxt reads a user's own images. Each
shows one of the glyphs of prototxt/glyphs280 in a random colour on a background of other colours, and is stored as by
`convert_imageset --encoded --shuffle`: the bytes of the JPEG and a label, with the key `%08d_<file>`. The same options
give the same records.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import lmdb
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from harness.caffe_files.messages import pb  # caffe_pb2 without the C++ library
from prototxt.glyphs280.make_data import CLASSES, alphabet, faces, font, shuffled_labels

HERE = Path(__file__).resolve().parent

SIDE = 256  # of an image, pixels
QUALITY = 92  # of the JPEGs, of 100
SEED = 280


def glyph(char: str, face: Path, ink: int, angle: float, shift: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the coverage of each pixel by the glyph, 0 to 1: (SIDE, SIDE). Its longer side has `ink` pixels."""
    left, top, right, bottom = font(face, 100).getbbox(char)
    drawn = font(face, max(8, round(100 * ink / max(right - left, bottom - top, 1))))
    left, top, right, bottom = drawn.getbbox(char)
    image = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(image).text(((SIDE - left - right) / 2, (SIDE - top - bottom) / 2), char, font=drawn, fill=255)
    turned = image.rotate(angle, Image.Resampling.BILINEAR, translate=tuple(shift))
    return np.asarray(turned, np.float32) / np.float32(255)


def drawing(char: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a glyph in one colour on a gradient of two others, with noise: BGR (SIDE, SIDE, 3)."""
    face = faces()[rng.integers(len(faces()))]
    cover = glyph(char, face, int(rng.integers(120, 190)), rng.uniform(-15, 15), rng.uniform(-20, 20, 2))[..., None]
    ink, above, below = rng.uniform(0, 255, (3, 3)).astype(np.float32)
    fade = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None, None]
    image = cover * ink + (1 - cover) * (above + fade * (below - above))
    noisy: NDArray[np.float32] = image + rng.uniform(2, 12) * rng.standard_normal((SIDE, SIDE, 3), np.float32)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def records(count: int, rng: np.random.Generator) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and serialized Datums, with the classes in shuffled order."""
    chars = alphabet(False, CLASSES)
    for number, label in enumerate(shuffled_labels(count, CLASSES, rng).tolist()):
        jpeg = cv2.imencode(".jpg", drawing(chars[label], rng), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        datum = pb.Datum(data=jpeg, label=label, encoded=True)
        yield f"{number:08d}_U+{ord(chars[label]):04X}/{number:05d}.jpg".encode(), datum.SerializeToString()


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw 280 classes of colour images into two LMDBs of JPEGs.")
    parser.add_argument("--train", type=int, default=560, metavar="N", help="training images (default: %(default)s)")
    parser.add_argument("--test", type=int, default=280, metavar="N", help="test images (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=HERE / "data", metavar="DIR", help="default: data next to this script"
    )
    options = parser.parse_args()
    out = options.out.resolve()
    if out.exists():  # it may be the user's own
        print(f"{out} exists: delete it, or choose another --out", file=sys.stderr)
        return 2
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:  # as a whole or not at all
        fresh = Path(scratch, "fresh")
        for number, (split, count) in enumerate((("train", options.train), ("test", options.test))):
            home = fresh / f"{split}_lmdb"
            home.mkdir(parents=True)
            with lmdb.open(str(home), map_size=1 << 34) as database, database.begin(write=True) as transaction:
                for key, value in records(count, np.random.default_rng([SEED, number])):
                    transaction.put(key, value, append=True)
        os.replace(fresh, out)
    print(f"{out}: {options.train} training and {options.test} test images of {CLASSES} classes", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
