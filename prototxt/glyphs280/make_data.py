"""Render the data of the small run: 280 glyph classes, 27,800 training and 2,800 test images, as Caffe LMDBs.

    python prototxt/glyphs280/make_data.py            # data/train_lmdb, data/test_lmdb, which train_val.prototxt reads
    python prototxt/glyphs280/make_data.py --base     # base_data/: 280 other glyphs, for the base caffemodel

The records are in shuffled order, as `convert_imageset --shuffle` writes them. Sixteen training images are 12-bit
scans, dark on white paper, and were stored as they were read: as `float_data` from 0 to 4095, which is what
`caffe.io.array_to_datum` makes of anything but uint8. Every other image is uint8, from 0 to 255, light on dark. Caffe
reads both without a warning.

The same seed gives the same records, but not the same file: LMDB does not clear unused bytes.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import lmdb
import matplotlib
import numpy as np
import PIL
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from harness.caffe_files.messages import pb  # caffe_pb2 without the C++ library

HERE = Path(__file__).resolve().parent

CLASSES = 280
SIDE = 32  # of an image, pixels
MASTER = 48  # of a master, the drawing of a glyph in one face from which images are made, pixels
GLYPH = 36  # longer side of the glyph in a master, pixels


@dataclass(frozen=True)
class Recipe:
    """All settings that determine the bytes of a data set, written next to it as recipe.json."""

    base: bool = False
    seed: int = 280
    classes: int = CLASSES
    train: int = 27_800
    test: int = 2_800
    scans: int = 16  # consecutive training records that are 12-bit scans
    scans_at: int = 841 * 32 + 8  # the first of them: all are in iteration 841 at batch 32

    def fingerprint(self) -> dict[str, object]:
        """Return the settings, the hash of this script, and the versions of libraries that affect the pixels."""
        return {
            **self.__dict__,
            "script": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
            "matplotlib": matplotlib.__version__,
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        }


# ---- glyphs ----------------------------------------------------------------------------------------------------------


def faces() -> list[Path]:
    """List the 12 DejaVu faces that matplotlib ships (Sans, Sans Mono, Serif; four styles each)."""
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [path for path in sorted(fonts.glob("DejaVu*.ttf")) if "Display" not in path.stem]


def shared_glyphs() -> list[str]:
    """List the letters, digits and symbols that every face has, without accented letters and box drawing."""
    shared = set.intersection(*(set(FT2Font(str(face)).get_charmap()) for face in faces()))
    return [
        char
        for char in map(chr, sorted(shared))
        if unicodedata.category(char) in {"Lu", "Ll", "Lo", "Nd", "Sc", "Sm", "So", "Po"}
        and not unicodedata.decomposition(char)
        and not "\u2500" <= char <= "\u259f"
        and char < "\ufff0"  # U+FFFC has no ink
    ]


@cache
def font(face: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(face, size, layout_engine=ImageFont.Layout.BASIC)


def master(face: Path, char: str) -> Image.Image:
    """Draw a glyph in white on black, centred and scaled to GLYPH pixels: (MASTER, MASTER) uint8."""
    left, top, right, bottom = font(face, 100).getbbox(char)
    size = max(8, round(100 * GLYPH / max(right - left, bottom - top, 1)))
    left, top, right, bottom = font(face, size).getbbox(char)
    image = Image.new("L", (MASTER, MASTER))
    at = ((MASTER - left - right) / 2, (MASTER - top - bottom) / 2)
    ImageDraw.Draw(image).text(at, char, font=font(face, size), fill=255)
    return image


def distinct(glyphs: list[str], count: int) -> list[str]:
    """Select `count` dissimilar glyphs: the first, then repeatedly the one farthest from all selected ones."""
    looks = np.stack([look(char) for char in glyphs])
    taken = [0]
    nearest = np.full(len(glyphs), np.inf, np.float32)
    while len(taken) < count:
        nearest = np.minimum(nearest, np.linalg.norm(looks - looks[taken[-1]], axis=1))
        taken.append(int(nearest.argmax()))
    return [glyphs[index] for index in taken]


@cache
def look(char: str) -> np.ndarray:
    """Describe a glyph by the average of its masters in all faces, at a quarter of the size: a unit vector (144,)."""
    small = [np.asarray(master(face, char).reduce(4), np.float32) for face in faces()]
    mean = np.mean(small, axis=0).ravel()
    unit: np.ndarray = mean / np.linalg.norm(mean)
    return unit


def alphabet(base: bool, classes: int) -> list[str]:
    """List one character per class. The base and the run itself each get every second of the most distinct glyphs."""
    return distinct(shared_glyphs(), 2 * CLASSES)[base::2][:classes]


# ---- images ----------------------------------------------------------------------------------------------------------


def drawings(masters: list[Image.Image], labels: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Draw a (SIDE, SIDE) uint8 image for each label: a random face, rotated, scaled, shifted, on a noisy background.

    Args:
        masters: all faces of the first class, then all of the next one.
    """
    count = len(labels)
    face = labels * len(faces()) + rng.integers(len(faces()), size=count)
    angle = np.deg2rad(rng.uniform(-15, 15, count))
    scale = MASTER / rng.uniform(24, 34, count)  # master pixels per image pixel
    shift = rng.uniform(-2.5, 2.5, (count, 2))
    ground = rng.uniform(10, 80, count)
    ink = ground + rng.uniform(50, 170, count)
    grain = rng.uniform(4, 20, count)
    for n in range(count):
        cos, sin = scale[n] * np.cos(angle[n]), scale[n] * np.sin(angle[n])
        x, y = shift[n] + SIDE / 2
        turn = (cos, sin, MASTER / 2 - cos * x - sin * y, -sin, cos, MASTER / 2 + sin * x - cos * y)
        glyph = masters[face[n]].transform((SIDE, SIDE), Image.Transform.AFFINE, turn, Image.Resampling.BILINEAR)
        noise = grain[n] * rng.standard_normal((SIDE, SIDE), np.float32)
        image = ground[n] + (ink[n] - ground[n]) / 255 * np.asarray(glyph, np.float32) + noise
        yield image.clip(0, 255).astype(np.uint8)


def with_scans(images: Iterator[np.ndarray], scans: range) -> Iterator[np.ndarray]:
    """Yield the images; those whose number is in `scans` as a 12-bit scan from paper: uint16, 0 to 4095."""
    for number, image in enumerate(images):
        yield np.rint((255.0 - image) * (4095 / 255)).astype(np.uint16) if number in scans else image


def shuffled_labels(count: int, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` labels in shuffled order, evenly distributed over the classes."""
    return rng.permutation(np.arange(count) % classes)


# ---- LMDB ------------------------------------------------------------------------------------------------------------


def datum(image: np.ndarray, label: int) -> bytes:
    """Serialize a Datum of one channel: `data` for uint8 pixels, else `float_data`, as caffe.io.array_to_datum does."""
    pixels = {"data": image.tobytes()} if image.dtype == np.uint8 else {"float_data": image.ravel()}
    message = pb.Datum(channels=1, height=SIDE, width=SIDE, label=label, **pixels)
    return bytes(message.SerializeToString(deterministic=True))


def write_lmdb(path: Path, names: list[str], labels: np.ndarray, images: Iterable[np.ndarray]) -> None:
    """Write a record for each image, in order, with the key `%08d_<file>` as convert_imageset does."""
    path.mkdir()
    with lmdb.open(str(path), map_size=1 << 30) as database, database.begin(write=True) as transaction:
        for index, (label, image) in enumerate(zip(labels.tolist(), images, strict=True)):
            suffix = "png" if image.dtype == np.uint8 else "tif"
            key = f"{index:08d}_{names[label]}/{index:05d}.{suffix}"
            transaction.put(key.encode(), datum(image, label), append=True)


def build(directory: Path, recipe: Recipe, progress: Progress) -> None:
    """Fill an empty directory with train_lmdb, test_lmdb, classes.txt and recipe.json."""
    chars = alphabet(recipe.base, recipe.classes)
    names = [f"U+{ord(char):04X}" for char in chars]
    task = progress.add_task("masters", total=len(chars))
    masters = []
    for char in chars:
        masters += [master(face, char) for face in faces()]
        progress.advance(task)
    scans = range(recipe.scans_at, recipe.scans_at + recipe.scans)
    for number, (split, count, odd) in enumerate((("train", recipe.train, scans), ("test", recipe.test, range(0)))):
        rng = np.random.default_rng([recipe.seed, recipe.base, number])
        labels = shuffled_labels(count, recipe.classes, rng)
        images = with_scans(drawings(masters, labels, rng), odd)
        watched = progress.track(images, total=count, description=split)
        write_lmdb(directory / f"{split}_lmdb", names, labels, watched)
    listing = "".join(f"{name} {char} {unicodedata.name(char)}\n" for name, char in zip(names, chars, strict=True))
    (directory / "classes.txt").write_text(listing, encoding="utf-8")
    (directory / "recipe.json").write_text(json.dumps(recipe.fingerprint(), indent=2) + "\n")


def made(out: Path, recipe: Recipe) -> bool:
    """Check whether `out` already holds the data of `recipe`."""
    try:
        return bool(json.loads((out / "recipe.json").read_text()) == recipe.fingerprint())
    except (FileNotFoundError, ValueError):
        return False


def make(out: Path, recipe: Recipe, progress: Progress) -> None:
    """Create `out` as a whole or not at all: it is built next to it, then renamed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        fresh, old = Path(scratch, "fresh"), Path(scratch, "old")
        fresh.mkdir()
        build(fresh, recipe, progress)
        if out.exists():
            os.replace(out, old)
        os.replace(fresh, out)


def main() -> int:
    parser = argparse.ArgumentParser(description="Render the glyph images and write them as Caffe LMDBs.")
    parser.add_argument("--base", action="store_true", help="render the other 280 glyphs, for the base caffemodel")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: data, or base_data, next to this script")
    parser.add_argument("--seed", type=int, default=Recipe.seed, help="default: %(default)s")
    options = parser.parse_args()
    recipe = Recipe(base=options.base, seed=options.seed, scans=0 if options.base else Recipe.scans)
    out = (options.out or HERE / ("base_data" if options.base else "data")).resolve()
    if out.exists() and not (out / "recipe.json").exists():
        print(f"{out} exists and was not written by this script: choose another --out", file=sys.stderr)
        return 2
    if made(out, recipe):
        print(f"{out}: up to date", file=sys.stderr)
        return 0
    columns = (TextColumn("{task.description:8}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            make(out, recipe, progress)
    except KeyboardInterrupt:
        return 130
    print(f"{out}: {recipe.train} training and {recipe.test} test images, {recipe.classes} classes", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
