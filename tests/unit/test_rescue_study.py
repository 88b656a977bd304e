"""The study directory of a rescue: its journal, and the names of its run directories."""

from __future__ import annotations

import math
from pathlib import Path

from harness.diagnosis.rescue.trend import Healthy, Trend
from harness.rescuing.journal import Decision, State, Study
from harness.schemas.explanation import Levels
from harness.schemas.rescue import Attempt, Tried


def test_each_candidate_has_a_directory_of_its_own_however_long_its_name_is(tmp_path: Path) -> None:
    study = Study(tmp_path, tmp_path / "run")
    key = "00000001_train/n01440764/n01440764_10026.JPEG"

    names = [study.path(1, f"without the record {key}{end}").name for end in ("", "2", "-continued")]

    assert len(set(names)) == 3
    assert max(map(len, names)) < 70
    assert study.path(2, "rate × 0.1").name == "02-rate-0.1"


def test_a_decision_can_be_read_whatever_test_passes_gave(tmp_path: Path) -> None:
    outputs = {"accuracy": 0.5, "loss": math.nan}
    tried = Tried("momentum reset", "history", "--history reset", test=outputs)
    attempt = Attempt(str(tmp_path / "run"), 80, "undecided", "It broke.", (tried,))
    healthy = Healthy(Trend(80, 1.0, 0.0, 0.1, 40), outputs)
    study = Study(tmp_path, tmp_path / "run")
    study.add(Decision(1, attempt, State(attempt.run, 75), Levels(1.0, None, 2.0), healthy=healthy))

    assert Study(tmp_path, tmp_path / "run").decisions == study.decisions
    assert study.decisions[0].attempt.tried[0].test == {"accuracy": 0.5}
