"""Stages that a budget may end: what each found, or else the trials of it that were finished."""

from __future__ import annotations

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.observing import seen
from harness.diagnosis.cause.trials import Found, OutOfBudget, Procedure, Seen


class Attempts:
    """Attempts to make the stages of an investigation, one after the other.

    Attributes:
        left_out: the stages for which the budget did not suffice.
        partly: by name, the trials of such stages that were finished.
    """

    def __init__(self) -> None:
        self.left_out: list[str] = []
        self.partly: dict[str, Seen] = {}

    def make(self, stage: str, case: Case, procedure: Procedure[Found]) -> Procedure[Found | None]:
        """Return what a stage finds; None if the budget does not suffice."""
        finished: dict[str, Seen] = {}
        try:
            wanted = next(procedure)
            while True:
                try:
                    found = yield wanted
                except OutOfBudget as over:
                    wanted = procedure.throw(over)
                else:
                    finished |= {trial.name: seen(case, trial, found) for trial in wanted.trials}
                    wanted = procedure.send(found)
        except StopIteration as end:
            answer: Found = end.value
            return answer
        except OutOfBudget:
            self.left_out.append(stage)
            self.partly |= finished
            return None
