"""LMDBs that another process scans or opens."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.caffe_files.lmdb_file import check_lmdb, open_records, scan_lmdb
from harness.training_data.lmdb_scan import scan_apart
from tests.helpers.lmdbs import digits, write_lmdb
from tests.helpers.processes import started


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_lmdb(tmp_path / "source", *digits(300, 1))


def test_a_scan_in_another_process_gives_the_same(source: Path) -> None:
    told: list[tuple[int, int]] = []
    here = scan_lmdb(source, lambda *progress: told.append(progress))
    apart = scan_apart(source, lambda *progress: None)
    assert here.digest == apart.digest == open_records(source).fingerprint
    np.testing.assert_array_equal(here.keys, apart.keys)
    np.testing.assert_array_equal(here.labels, apart.labels)


def test_a_lock_that_is_held_briefly_is_waited_for(source: Path) -> None:
    """As another run does that starts at the same time."""
    code = """import fcntl, sys, time
file = open(sys.argv[1], "r+b"); fcntl.lockf(file, fcntl.LOCK_EX, 1, 0); print(1, flush=True); time.sleep(0.5)"""
    with started(sys.executable, "-c", code, source / "lock.mdb", stdout=subprocess.PIPE) as opening:
        assert opening.stdout is not None
        opening.stdout.readline()
        with (source / "lock.mdb").open("r+b") as lock, pytest.raises(OSError, match="unavailable"):
            fcntl.lockf(lock, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, 0)
        assert check_lmdb(source) == 300
