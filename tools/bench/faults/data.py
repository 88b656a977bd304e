"""The images of the planted faults: generated, of ten classes, each seed's different."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import lmdb
import numpy as np
import numpy.typing as npt

from harness.caffe_files.messages import pb
from tools.bench.nets import GLYPHS, ROOT

SIDE, CLASSES = 16, 10


@dataclass(frozen=True, eq=False)
class Record:
    """An image (channels, height, width), uint8 or float32, with its label and the key of the data set."""

    key: str
    image: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    label: int

    def scaled(self, factor: float, offset: float = 0.0) -> Record:
        """Return it with other values, stored as float32."""
        return replace(self, image=(self.image.astype(np.float32) * np.float32(factor) + np.float32(offset)))

    def renamed(self, key: str) -> Record:
        return replace(self, key=key)


def generated(count: int, seed: int) -> list[Record]:
    """Return images of ten classes: a coarse pattern each, shifted by up to 4 pixels and with noise."""
    random = np.random.default_rng(seed)
    patterns = np.kron(random.uniform(20, 235, (CLASSES, 5, 5)), np.ones((4, 4)))
    labels = random.integers(0, CLASSES, count)
    shifts = random.integers(0, 5, (count, 2))
    noise = random.normal(0, 45, (count, SIDE, SIDE))
    images = [
        patterns[label, row : row + SIDE, column : column + SIDE]
        for label, (row, column) in zip(labels, shifts, strict=True)
    ]
    pixels = np.clip(np.array(images) + noise, 0, 255).astype(np.uint8)
    return [
        Record(f"{number:08d}_image{number}.png", image[None], int(label))
        for number, (image, label) in enumerate(zip(pixels, labels, strict=True))
    ]


def glyphs(count: int, seed: int) -> list[Record]:
    """Return images of prototxt/glyphs280 in an order of the seed, without the sixteen that break its own run."""
    if not (GLYPHS / "data" / "train_lmdb" / "data.mdb").is_file():
        subprocess.run([sys.executable, str(GLYPHS / "make_data.py")], check=True, cwd=ROOT)
    found = []
    with lmdb.open(str(GLYPHS / "data" / "train_lmdb"), readonly=True, lock=False) as data, data.begin() as reader:
        for _, value in reader.cursor():
            datum = pb.Datum.FromString(value)
            if datum.data:
                shape = (datum.channels, datum.height, datum.width)
                found.append((np.frombuffer(datum.data, np.uint8).reshape(shape), datum.label))
    order = np.random.default_rng(seed).permutation(len(found))[:count]
    return [Record(f"{number:08d}_glyph{index}.png", *found[index]) for number, index in enumerate(order)]


def write_lmdb(path: Path, records: Iterable[Record]) -> None:
    """Write an LMDB with keys like those of convert_imageset; images of floats as float_data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(path), map_size=1 << 30) as environment, environment.begin(write=True) as transaction:
        transaction.cursor().putmulti(((r.key.encode(), _datum(r)) for r in records), append=True)


def _datum(record: Record) -> bytes:
    channels, height, width = record.image.shape
    datum = pb.Datum(channels=channels, height=height, width=width, label=record.label)
    if record.image.dtype == np.uint8:
        datum.data = record.image.tobytes()
    else:
        datum.float_data[:] = record.image.ravel().tolist()
    return datum.SerializeToString()
