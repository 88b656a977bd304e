"""The files that nets in the matrix read."""

from __future__ import annotations

from pathlib import Path

import cv2
import h5py
import numpy as np

from harness.caffe_files.messages import pb
from tests.helpers.lmdbs import CLASSES, digits, write_lmdb

# Layers in Python, as a user would write them.
PYTHON_LAYERS = """
import itertools

import caffe


class Times(caffe.Layer):
    def setup(self, bottom, top):
        self.factor = float(self.param_str)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.factor * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = self.factor * top[0].diff


class Scripted(caffe.Layer):
    def setup(self, bottom, top):
        self.values = itertools.cycle(map(float, self.param_str.split()))

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        top[0].data[...] = next(self.values)

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 0
"""


def write_data(home: Path) -> Path:
    """Write an LMDB, HDF5 files, images with a list and a window file, a matrix, and a module. Returns `home`."""
    images, labels = digits(23, 3)
    write_lmdb(home / "lmdb", images, labels)
    random = np.random.default_rng(5)
    for name, rows in (("a", 5), ("b", 8)):
        with h5py.File(home / f"{name}.h5", "w") as file:
            file["data"] = random.normal(size=(rows, 6)).astype(np.float32)
            file["target"] = random.normal(size=(rows, 2)).astype(np.float32)
            file["keep"] = (np.arange(rows) % 3 > 0).astype(np.float32)
    (home / "h5.txt").write_text(f"{home / 'a.h5'}\n{home / 'b.h5'}\n")
    files = []
    for number, image in enumerate(images[:9]):
        files.append(f"{number}.png {labels[number]}\n")
        cv2.imwrite(str(home / f"{number}.png"), np.stack([image[0]] * 3, axis=-1))
    (home / "list.txt").write_text("".join(files))
    boxes = "{} 0.9 0 0 8 8\n{} 0.7 2 2 11 11\n0 0.1 4 4 9 9\n"
    (home / "windows.txt").write_text(
        "".join(f"# {n}\n{home / f'{n}.png'}\n3\n12\n12\n3\n{boxes.format(1 + n % 4, 1 + n % 3)}" for n in range(9))
    )
    matrix = (np.eye(CLASSES) + 0.1).ravel()
    blob = pb.BlobProto(num=1, channels=1, height=CLASSES, width=CLASSES, data=matrix)
    (home / "infogain.binaryproto").write_bytes(blob.SerializeToString())
    (home / "matrix_layers.py").write_text(PYTHON_LAYERS)
    return home
