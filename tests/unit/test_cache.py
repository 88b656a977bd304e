"""The cache directory: nothing is read from, or written to, a place that another user prepared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.caffe_files.cache import cache_directory


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's place in a directory for temporary files, for a user whose own cache cannot be written."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"caffe-harness-{os.getuid()}"


def test_a_temporary_cache_is_private(shared: Path) -> None:
    old = os.umask(0)
    try:
        found = cache_directory("records")
    finally:
        os.umask(old)
    assert found == shared / "records"
    assert [shared.stat().st_mode & 0o777, found.stat().st_mode & 0o777] == [0o700, 0o700]
    assert cache_directory("records") == found


def test_a_directory_that_others_may_write_is_not_used(shared: Path) -> None:
    shared.mkdir()
    shared.chmod(0o777)
    assert cache_directory("records") is None
    shared.chmod(0o700)
    (shared / "records").mkdir()
    (shared / "records").chmod(0o770)
    assert cache_directory("records") is None


def test_a_symbolic_link_is_not_followed(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    shared.symlink_to(tmp_path / "elsewhere")
    assert cache_directory("records") is None
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory to another user")
def test_a_directory_of_another_user_is_not_used(shared: Path) -> None:
    shared.mkdir(mode=0o700)
    os.chown(shared, 12345, 12345)
    assert cache_directory("records") is None


def test_a_file_in_its_place_is_not_used(shared: Path) -> None:
    shared.write_text("")
    assert cache_directory("records") is None
