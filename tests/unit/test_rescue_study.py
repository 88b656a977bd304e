"""The study directory of a rescue: the names of its run directories."""

from __future__ import annotations

from pathlib import Path

from harness.rescuing.journal import Study


def test_each_candidate_has_a_directory_of_its_own_however_long_its_name_is(tmp_path: Path) -> None:
    study = Study(tmp_path, tmp_path / "run")
    key = "00000001_train/n01440764/n01440764_10026.JPEG"

    names = [study.path(1, f"without the record {key}{end}").name for end in ("", "2", "-continued")]

    assert len(set(names)) == 3
    assert max(map(len, names)) < 70
    assert study.path(2, "rate × 0.1").name == "02-rate-0.1"
