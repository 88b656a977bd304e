"""The images of tools.full_size: drawn as told, some of them as unscaled scans."""

from __future__ import annotations

from pathlib import Path

import cv2
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


def test_images_that_need_no_decoding_have_the_same_labels_and_nearly_the_same_pixels(tmp_path: Path) -> None:
    for name, encoded in (("jpeg", True), ("raw", False)):
        write_images(tmp_path / name, 1, range(0), encoded)
    ((_, jpeg),), ((key, raw),) = (records(tmp_path / name) for name in ("jpeg", "raw"))
    assert key.endswith(".png")
    assert (raw.encoded, raw.label, raw.channels) == (False, jpeg.label, 3)
    image = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    pixels = np.frombuffer(raw.data, np.uint8).reshape(3, 256, 256)
    assert np.abs(pixels.transpose(1, 2, 0).astype(int) - image).mean() < 10


def records(path: Path) -> list[tuple[str, pb.Datum]]:
    with lmdb.open(str(path), readonly=True, lock=False) as database, database.begin() as transaction:
        return [(key.decode(), pb.Datum.FromString(value)) for key, value in transaction.cursor()]
