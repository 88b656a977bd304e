"""The fingerprint of an LMDB: it depends on the records only."""

from __future__ import annotations

import os
import time
from pathlib import Path

import lmdb
import pytest

from harness.caffe_files.lmdb_file import open_records
from tests.helpers.lmdbs import digits, write_lmdb

Pairs = list[tuple[bytes, bytes]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_lmdb(tmp_path / "source", *digits(300, 1))


def pairs(source: Path) -> Pairs:
    with lmdb.open(str(source), readonly=True) as environment, environment.begin() as transaction:
        return list(transaction.cursor())


def written(path: Path, records: Pairs, batch: int) -> Path:
    """Write the records, `batch` in a transaction, between others that are deleted again."""
    with lmdb.open(str(path), map_size=1 << 30) as environment:
        for start in range(0, len(records), batch):
            with environment.begin(write=True) as transaction:
                for key, value in records[start : start + batch]:
                    transaction.put(key + b"!", value * 5)
                    transaction.put(key, value)
            with environment.begin(write=True) as transaction:
                for key, _ in records[start : start + batch]:
                    transaction.delete(key + b"!")
    return path


def test_equal_records_have_one_fingerprint_wherever_they_are_stored(source: Path, tmp_path: Path) -> None:
    records = pairs(source)
    again = written(tmp_path / "again", records, 7)
    assert (again / "data.mdb").stat().st_size != (source / "data.mdb").stat().st_size
    assert open_records(again).fingerprint == open_records(source).fingerprint


@pytest.mark.parametrize("what", ["a pixel", "a key", "one less", "a field that Caffe passes over"])
def test_other_records_have_another_fingerprint(what: str, source: Path, tmp_path: Path) -> None:
    records = pairs(source)
    key, value = records[123]
    if what == "a pixel":
        records[123] = (key, value[:50] + bytes([value[50] ^ 1]) + value[51:])
    elif what == "a key":
        records[123] = (key + b"x", value)
    elif what == "one less":
        del records[123]
    else:
        records[123] = (key, b"\x78\x01" + value)  # the protobuf field 15 is 1
    assert open_records(written(tmp_path / "other", records, 300)).fingerprint != open_records(source).fingerprint


def test_a_scan_is_cached(source: Path) -> None:
    first = open_records(source)
    again = open_records(source, scan=lambda path, progress: pytest.fail("read again"))
    assert (again.fingerprint, again.keys.tolist()) == (first.fingerprint, first.keys.tolist())


def test_a_scan_is_kept_while_it_is_used(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = tmp_path / "cache" / "caffe-harness" / "records"
    long_ago = time.time() - 100 * 24 * 3600
    open_records(source)
    for file in cache.iterdir():
        os.utime(file, (long_ago, long_ago))
    unused = cache / "unused.npz"
    unused.touch()
    os.utime(unused, (long_ago, long_ago))
    open_records(source)  # marks it as used
    open_records(write_lmdb(tmp_path / "other", *digits(10, 1)))
    assert not unused.exists()
    open_records(source, scan=lambda path, progress: pytest.fail("read again"))
