"""Files of an HDF5Data layer that are damaged."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

from harness.caffe_files.hdf5_list import check_tops, open_hdf5_list
from harness.errors import BadInput


def test_a_damaged_file_is_bad_input(tmp_path: Path) -> None:
    """Whatever bit of its structure was flipped; what only changes numbers is read."""
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["data"] = np.zeros((20, 3, 2), np.float32)
        file["label"] = np.zeros((20, 1), np.float32)
    whole = (tmp_path / "data.h5").read_bytes()
    (tmp_path / "list.txt").write_text(str(tmp_path / "data.h5"))
    refused = 0
    for number in range(400):
        chance, content = random.Random(number), bytearray(whole)
        for _ in range(chance.choice((1, 3, 20))):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        (tmp_path / "data.h5").write_bytes(content)
        with suppress(BadInput):
            check_tops(open_hdf5_list(tmp_path / "list.txt", "layer"), ("data", "label"), "layer")
            continue
        refused += 1
    assert refused > 100
