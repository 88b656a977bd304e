"""Edits of the data sets in a capsule: other contents, blank pixels, numbers in place of names."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import h5py
import lmdb
import numpy as np
import pytest

from harness.caffe_files.messages import pb
from harness.capsules.shrinking.image_bytes import blank_image, without_metadata
from harness.capsules.shrinking.record_edits import RecordEdits, blank_datum, edit_data_set

RANDOM = np.random.default_rng(3)
PHOTO = RANDOM.integers(0, 256, (20, 16, 3)).astype(np.uint8)
SECRET = b"taken by Jane Doe at home"


def jpeg(with_comment: bool) -> bytes:
    data = cv2.imencode(".jpg", PHOTO)[1].tobytes()
    comment = b"\xff\xfe" + struct.pack(">H", len(SECRET) + 2) + SECRET
    exif = b"\xff\xe1" + struct.pack(">H", len(SECRET) + 8) + b"Exif\0\0" + SECRET
    return data[:2] + exif + comment + data[2:] if with_comment else data


def png() -> bytes:
    data = cv2.imencode(".png", PHOTO)[1].tobytes()
    chunk = b"tEXt" + b"Author\0" + SECRET
    return data[:33] + struct.pack(">I", len(chunk) - 4) + chunk + b"\0\0\0\0" + data[33:]


def pixels(data: bytes) -> np.ndarray:
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    return found


def records(path: Path) -> list[tuple[bytes, pb.Datum]]:
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return [(key, pb.Datum.FromString(value)) for key, value in transaction.cursor()]


@pytest.fixture
def encoded(tmp_path: Path) -> Path:
    """An LMDB of four records: pixels, floats, a JPEG and a PNG with comments."""
    raw = RANDOM.integers(0, 256, (2, 5, 4)).astype(np.uint8)
    datums = [
        pb.Datum(channels=2, height=5, width=4, data=raw.tobytes(), label=1),
        pb.Datum(channels=1, height=2, width=2, float_data=[0.5, 1.5, -4.0, 8.0], label=2),
        pb.Datum(encoded=True, data=jpeg(True), label=3),
        pb.Datum(encoded=True, data=png(), label=4),
    ]
    with lmdb.open(str(tmp_path / "data"), map_size=1 << 20) as environment, environment.begin(write=True) as writing:
        for number, datum in enumerate(datums):
            writing.put(f"home/jane/{number}".encode(), datum.SerializeToString())
    return tmp_path / "data"


def test_contents_are_replaced_under_the_same_keys(encoded: Path) -> None:
    before = records(encoded)
    edit_data_set(encoded, "Data", RecordEdits({0: 2, 3: 2}))
    after = records(encoded)
    assert [key for key, _ in after] == [key for key, _ in before]
    assert [datum for _, datum in after] == [before[n][1] for n in (2, 1, 2, 2)]
    assert not (encoded / "lock.mdb").exists()


def test_names_and_comments_are_left_out(encoded: Path) -> None:
    before = records(encoded)
    edit_data_set(encoded, "Data", RecordEdits(numbered=True))
    after = records(encoded)
    assert [key for key, _ in after] == [b"%08d" % n for n in range(4)]
    assert [datum.label for _, datum in after] == [1, 2, 3, 4]
    assert [datum for _, datum in after[:2]] == [datum for _, datum in before[:2]]
    for (_, old), (_, new) in zip(before[2:], after[2:], strict=True):
        assert SECRET in old.data
        assert SECRET not in new.data
        assert np.array_equal(pixels(old.data), pixels(new.data))
    assert SECRET not in (encoded / "data.mdb").read_bytes()


def test_pixels_are_blanked(encoded: Path) -> None:
    before = records(encoded)
    edit_data_set(encoded, "Data", RecordEdits(blank=frozenset(range(4))))
    after = [datum for _, datum in records(encoded)]
    assert [datum.label for datum in after] == [1, 2, 3, 4]
    raw = np.frombuffer(before[0][1].data, np.uint8).reshape(2, -1)
    assert after[0].data == b"".join(bytes([round(float(row.mean()))]) * 20 for row in raw)
    assert list(after[1].float_data) == [1.5] * 4
    for datum in after[2:]:
        found = pixels(datum.data)
        assert found.shape == PHOTO.shape
        assert len(np.unique(found.reshape(-1, 3), axis=0)) == 1
        assert np.allclose(found[0, 0], PHOTO.mean((0, 1)), atol=3)


def test_an_image_that_is_damaged_stays_as_it_is_or_is_named() -> None:
    for data in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0", b"GIF89a", jpeg(True)[:40], png()[:50]):
        assert without_metadata(data) == data
        assert blank_image(data) is None
    assert without_metadata(jpeg(True)) == jpeg(False)
    with pytest.raises(Exception, match="cannot be decoded"):
        blank_datum(pb.Datum(encoded=True, data=b"GIF89a").SerializeToString())


def test_a_jpeg_that_says_how_it_is_turned_keeps_it() -> None:
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    exif = b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    data = jpeg(False)
    turned = data[:2] + exif + data[2:]
    assert without_metadata(turned) == turned


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of four lines and three images, one of which is named twice."""
    images = tmp_path / "data/images/jane"
    images.mkdir(parents=True)
    for number in range(3):
        (images / f"{number}.jpg").write_bytes(jpeg(True))
    (tmp_path / "data/list.txt").write_bytes(b"".join(b"jane/%d.jpg %d\n" % (n, 5 + n) for n in (0, 1, 2, 0)))
    return tmp_path / "data"


def test_images_of_a_list(listed: Path) -> None:
    edit_data_set(listed, "ImageData", RecordEdits({0: 1, 3: 1}, frozenset([2]), numbered=True))
    assert (listed / "list.txt").read_text() == "00000000.jpg 6\n00000000.jpg 6\n00000001.png 7\n00000000.jpg 6\n"
    assert sorted(path.name for path in (listed / "images").rglob("*")) == ["00000000.jpg", "00000001.png"]
    assert SECRET not in (listed / "images/00000000.jpg").read_bytes()
    assert len(np.unique(pixels((listed / "images/00000001.png").read_bytes()).reshape(-1, 3), axis=0)) == 1


def test_images_of_a_list_keep_their_names(listed: Path) -> None:
    edit_data_set(listed, "ImageData", RecordEdits({0: 1, 3: 1}))
    assert (listed / "list.txt").read_text() == "jane/1.jpg 6\njane/1.jpg 6\njane/2.jpg 7\njane/1.jpg 6\n"
    assert sorted(path.name for path in (listed / "images/jane").iterdir()) == ["1.jpg", "2.jpg"]


def test_rows(tmp_path: Path) -> None:
    images = RANDOM.normal(size=(5, 2, 3, 4)).astype(np.float32)
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["x/images"], file["label"] = images, np.arange(5, dtype=np.float32)
        file.attrs["author"] = "jane"
    edit_data_set(tmp_path, "HDF5Data", RecordEdits({0: 4}, frozenset([1]), numbered=True))
    with h5py.File(tmp_path / "rows.h5") as file:
        assert file["label"][()].tolist() == [4, 1, 2, 3, 4]
        found = file["x/images"][()]
        assert dict(file.attrs) == {}
    assert np.array_equal(found[[0, 2, 3, 4]], images[[4, 2, 3, 4]])
    assert np.allclose(found[1], images[1].mean(axis=(1, 2), keepdims=True))
