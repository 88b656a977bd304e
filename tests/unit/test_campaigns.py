"""The runner of campaigns: what a case does to its process is a result of that case alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tools.campaigns.campaign import Campaign, Case, read_journal, run


def check(number: int) -> Case:
    """Kill the process in every fifth case."""
    if number % 5 == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return Case(number, "kind", "fine")


def test_a_case_that_kills_its_process_is_a_failure_and_the_others_go_on(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    cases = {case.number: case for case in run(Campaign("killing", 12, 10.0, check), range(12), journal, 2)}
    assert cases == read_journal(journal)
    assert sorted(cases) == list(range(12))
    assert {number for number, case in cases.items() if case.failure} == {2, 7}
    assert cases[2].outcome == "killed its process"
