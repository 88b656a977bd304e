"""A part of the campaign of damaged run directories; `python -m tools.campaigns run_directories` runs all of it."""

from __future__ import annotations

import pytest

from tools.campaigns.run_directories import base, check

CASES = range(60)


def test_damaged_run_directories_give_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMPAIGN_HOME", str(tmp_path_factory.mktemp("campaign")))
    base.cache_clear()
    assert (base() / "runs/again/run.json").is_file()
    found = [check(number) for number in CASES]
    assert [case for case in found if case.failure] == []
    assert {case.outcome for case in found} == {"exit 0", "exit 2"}
