"""The images of tools.full_size: drawn as told, some of them as unscaled scans."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np

from harness.caffe_files.messages import pb
from tools.full_size.data import write_images

SCAN, COUNT = 2, 4


def test_only_the_scans_are_unscaled(tmp_path: Path) -> None:
    for name, scans in (("clean", range(0)), ("planted", range(SCAN, SCAN + 1))):
        write_images(tmp_path / name, COUNT, scans)
    clean, planted = (records(tmp_path / name) for name in ("clean", "planted"))
    assert [number for number in range(COUNT) if clean[number] != planted[number]] == [SCAN]
    assert {datum.encoded for _, datum in clean} == {True}
    key, scan = planted[SCAN]
    assert key.endswith(".tif")
    assert scan.label == clean[SCAN][1].label
    assert (scan.channels, scan.height, scan.width) == (3, 256, 256)
    assert 255 < np.max(scan.float_data) <= 4095


def records(path: Path) -> list[tuple[str, pb.Datum]]:
    with lmdb.open(str(path), readonly=True, lock=False) as database, database.begin() as transaction:
        return [(key.decode(), pb.Datum.FromString(value)) for key, value in transaction.cursor()]
