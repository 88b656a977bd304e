"""Planted culprit records are found exactly, from replays of a real broken run."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.diagnosis.cause.records.culprits import Culprits, find_culprits
from harness.schemas.arm import ArmResult
from tests.helpers.commands import train
from tests.helpers.investigating import case_of, drive
from tests.helpers.planted_records import BATCH, INNOCENT, ONSET, TIMES, write_planted

pytestmark = pytest.mark.usefixtures("one_blas_thread")

FIRST = ONSET - 12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("culprits")
    return train(write_planted(home), home / "run", "--black-box-mib", 0, "--on-alarm", "continue").run


@pytest.fixture(scope="module")
def replayed() -> list[ArmResult]:
    """The results of all arms that the search took."""
    return []


@pytest.fixture(scope="module")
def found(run: Path, replayed: list[ArmResult]) -> Culprits:
    return drive(find_culprits(case_of(run, FIRST, ONSET), (ONSET,)), run, FIRST, replayed=replayed)


def test_all_culprits_are_found_and_the_innocent_outlier_is_none(found: Culprits) -> None:
    assert [(r.iteration, r.index) for r in found.records] == [(ONSET, p) for p in TIMES if p != INNOCENT]
    assert found.tried == BATCH
    assert [(batch.iteration, batch.is_outlier) for batch in found.batches] == [(ONSET, True)]
    for record in found.records:
        assert record.effect is not None
        assert record.usual_effect is not None
        assert record.effect > 0.05 > abs(record.usual_effect)
        assert record.gradient_l2 is not None
        assert record.usual_gradient_l2 is not None
        assert record.gradient_l2 > 10 * record.usual_gradient_l2


def test_the_set_is_necessary_and_breaks_other_batches(found: Culprits) -> None:
    sets = found.sets
    assert sets is not None
    assert sets.placebo is not None
    assert sets.elsewhere is not None
    assert (sets.replaced.heals, sets.replaced.breaks) == (8, 0)
    assert (sets.placebo.heals, sets.placebo.breaks) == (0, 3)
    assert len(sets.elsewhere.results) == 5
    assert sets.elsewhere.breaks >= 4
    assert sets.suffice == 2


def test_most_replays_have_two_iterations(replayed: list[ArmResult]) -> None:
    assert sum(result.arm.horizon == 2 for result in replayed) == BATCH
