"""Lists of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.caffe_files.image_list import open_list
from harness.prefetch.epochs import Epochs


def test_lines_are_parsed_as_by_caffe(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"a b.jpg 3\nc.jpg -2\r\nd.jpg 5 \n\xe9 +7x\n12\n")
    records = open_list(path)
    found = list(zip(records.keys.tolist(), records.labels.tolist(), strict=True))
    assert found == [(b"a b.jpg", 3), (b"c.jpg", -2), (b"d.jpg 5", 0), (b"\xe9", 7), (b"12", 12)]


def test_positions_map_to_lines() -> None:
    flowing = Epochs(7, 3).lines_from(4)
    taken = [next(flowing) for _ in range(40)]
    assert Epochs(7, 3).lines(np.arange(4, 44)).tolist() == taken
    assert Epochs(7, None).lines(np.arange(4, 44)).tolist() == [n % 7 for n in range(4, 44)]
    assert all(sorted(taken[i : i + 7]) == list(range(7)) for i in (3, 10, 17))
    assert taken[3:10] != taken[10:17]
