"""Snapshots that Caffe could not write completely are recognized wherever they end."""

from __future__ import annotations

import os
from pathlib import Path

import caffe
import pytest

from harness.caffe_files.written import is_whole_model, is_whole_state
from tests.helpers.nets import small_net, solver_text


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> tuple[Path, int]:
    """A caffemodel that plain pycaffe wrote, with its solverstate beside it; and the number of the net's layers."""
    home = tmp_path_factory.mktemp("written")
    (home / "net.prototxt").write_text(small_net(digit_data))
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "native"))
    solver = caffe.get_solver(str(home / "solver.prototxt"))
    solver.step(3)
    solver.snapshot()
    return home / "native_iter_3.caffemodel", len(solver.net.layers)


def test_what_caffe_wrote_is_whole(snapshot: tuple[Path, int]) -> None:
    model, layers = snapshot
    assert is_whole_model(model, layers)
    assert is_whole_state(model.with_suffix(".solverstate"))


def test_a_file_that_is_cut_short_is_not(snapshot: tuple[Path, int], tmp_path: Path) -> None:
    model, layers = snapshot
    for path in (model, model.with_suffix(".solverstate")):
        content = path.read_bytes()
        part = tmp_path / path.name
        part.write_bytes(content)
        # every end within the last kilobyte of Caffe's stream, and some within its last blocks and before
        last, blocks = max(0, len(content) - 1000), max(0, len(content) - 9000)
        for size in [*range(len(content) - 1, last, -1), *range(last, blocks, -13), *range(blocks, 0, -997), 0]:
            os.truncate(part, size)
            whole = is_whole_model(part, layers) if path == model else is_whole_state(part)
            assert not whole, size
