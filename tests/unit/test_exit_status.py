"""How a run ended, from what the supervisor knows when the worker is gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.exit_codes import Exit
from harness.supervisor.exit_status import Circumstances, outcome_of

REFUSED = Circumstances(
    returncode=2,
    recording=Path("runs/a/recording.h5"),
    until=100,
    last=-1,
    refusal="weights do not fit",
    failure=None,
    end=None,
    interrupted=False,
    at_once=False,
    diverged=None,
    divergence=None,
    last_words=(),
)


def test_input_is_refused_before_the_first_iteration() -> None:
    assert outcome_of(REFUSED).code == Exit.BAD_INPUT


def test_what_is_recorded_is_never_thrown_away_as_bad_input() -> None:
    """A run directory is removed where the input was bad: not after hours of training."""
    outcome = outcome_of(replace(REFUSED, last=40))
    assert (outcome.code, outcome.sentence) == (Exit.RECORDING_FAILED, "weights do not fit")


def test_a_worker_killed_after_an_interrupt_was_not_interrupted_in_order() -> None:
    killed = replace(REFUSED, refusal=None, returncode=-9, last=40, interrupted=True)
    assert outcome_of(killed).code == Exit.WORKER_DIED
    assert outcome_of(replace(killed, at_once=True)).code == Exit.INTERRUPTED
