"""Files that appear complete or not at all, with the permissions that other programs' files have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.atomic_write import write_whole


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002, 0o077])
def test_the_umask_is_respected(tmp_path: Path, mask: int) -> None:
    old = os.umask(mask)
    try:
        write_whole(tmp_path / "ours", "text")
        (tmp_path / "plain").write_text("text")
    finally:
        os.umask(old)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert {path.name for path in tmp_path.iterdir()} == {"ours", "plain"}


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "target", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
