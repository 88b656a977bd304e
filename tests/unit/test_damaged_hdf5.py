"""HDF5 files that are damaged: those of an HDF5Data layer, and snapshots."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from harness.caffe_files.caffemodel import read_caffemodel, read_solverstate
from harness.caffe_files.hdf5_list import check_tops, open_hdf5_list
from harness.caffe_files.history_digest import digest_history
from harness.caffe_files.written import is_whole_model, is_whole_state
from harness.errors import BadInput


def damaged(path: Path) -> Iterator[None]:
    """Flip bits in a file, each time others."""
    whole = path.read_bytes()
    for number in range(300):
        chance, content = random.Random(number), bytearray(whole)
        for _ in range(chance.choice((1, 3, 20))):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        yield


def refusals(path: Path, *reads: Callable[[], object]) -> int:
    """Count how often a read refuses the damaged file; another error than BadInput fails the test."""
    refused = 0
    for _ in damaged(path):
        for read in reads:
            try:
                read()
            except BadInput:
                refused += 1
    return refused


def test_a_damaged_file_of_a_data_layer_is_bad_input(tmp_path: Path) -> None:
    path, source = tmp_path / "data.h5", tmp_path / "list.txt"
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros((20, 3, 2), np.float32)
        file["label"] = np.zeros((20, 1), np.float32)
    source.write_text(str(path))
    assert refusals(path, lambda: check_tops(open_hdf5_list(source, "layer"), ("data", "label"), "layer")) > 50


def test_a_damaged_snapshot_is_bad_input(tmp_path: Path) -> None:
    model, state = tmp_path / "a.caffemodel.h5", tmp_path / "a.solverstate.h5"
    with h5py.File(model, "w") as file:
        file["data/ip/0"], file["data/ip/1"] = np.zeros((3, 4), np.float32), np.zeros(3, np.float32)
    with h5py.File(state, "w") as file:
        file["iter"], file["current_step"] = np.array([5], np.int32), np.array([0], np.int32)
        file["learned_net"], file["history/0"] = np.bytes_(str(model)), np.zeros((3, 4), np.float32)
    assert refusals(state, *(partial(read, state) for read in (read_solverstate, digest_history, is_whole_state)))
    assert refusals(model, lambda: read_caffemodel(model), lambda: is_whole_model(model, 1))
