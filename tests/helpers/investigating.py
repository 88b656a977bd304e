"""Procedures of an investigation in tests: the arms that they want are replayed."""

from __future__ import annotations

from pathlib import Path

from harness.diagnosis.cause.case import Case, read_case
from harness.diagnosis.cause.trials import Found, Procedure
from harness.diagnosis.recorded.diagnose import diagnose
from harness.recording import Recording
from harness.schemas.arm import ArmResult
from tests.helpers.arms import arms_of


def case_of(run: Path, first: int, at: int | None = None) -> Case:
    """Read the case of a run that broke at iteration `at`, or at its onset, and is replayed from `first` on."""
    with Recording(run) as recording:
        diagnosis = diagnose(recording)
        if at is None:
            assert diagnosis.onset is not None
            at = diagnosis.onset.iteration
        return read_case(recording, diagnosis, at, first, first)


def drive(
    procedure: Procedure[Found], run: Path, first: int, workers: int = 1, replayed: list[ArmResult] | None = None
) -> Found:
    """Replay what `procedure` wants, and return what it finds.

    Args:
        run: the directory of the recorded run.
        first: the earliest iteration at which arms may start.
        replayed: gets the results in the order in which they come, each once.
    """
    found: dict[str, ArmResult] = {}
    with arms_of(run, first, workers) as replays:
        try:
            wanted = next(procedure)
            while True:
                replays.submit(arm for trial in wanted.trials for arm in trial.arms)
                results = list(replays.results())
                found |= {result.arm.key: result for result in results}
                if replayed is not None:
                    replayed += results
                wanted = procedure.send(found)
        except StopIteration as stop:
            answer: Found = stop.value
            return answer
