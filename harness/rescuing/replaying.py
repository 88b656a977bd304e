"""Replays of candidates, while an attempt lasts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from harness.budget import Budget
from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.trials import OutOfBudget
from harness.diagnosis.rescue.trials import Outcome, try_until_past
from harness.experiments import Arms, locked
from harness.explaining.estimate import Estimate
from harness.explaining.investigating import drive
from harness.explaining.question import Question
from harness.explaining.replays import Replays
from harness.explaining.showing import Showing
from harness.rescuing.means import Means
from harness.schemas.arm import ArmResult
from harness.schemas.arm_task import Progress
from harness.schemas.rescue import Candidate

_ARMS = 2.5  # arms of a candidate, about


class Replaying:
    """Tries candidates of a break in replays. Use `replaying`."""

    def __init__(self, question: Question, case: Case, means: Means) -> None:
        self._case, self._question, self._means = case, question, means
        self._arms = Arms(question.run, case.first, means.arms, means.terminal, means.interrupts, follow=self._follow)
        self._replays = Replays(self._arms, question.way, means.workers, Budget(), means.interrupts, self._keep)
        self._showing = Showing(means.terminal, question, self._estimate(0))

    @property
    def iterations(self) -> int:
        """The iterations that replays have taken so far."""
        return self._replays.spent.iterations

    def until_past(self, candidates: Sequence[Candidate]) -> tuple[Outcome, ...]:
        """Try candidates until one gets past; those of the user are all tried.

        Raises:
            KeyboardInterrupt: somebody has asked for an end.
            BadInput, RecordingError, RecordingFailed: replays are not possible.
        """
        given = sum(candidate.kind == "given" for candidate in candidates)
        self._showing = Showing(self._means.terminal, self._question, self._estimate(1 + given))
        self._means.interrupts.ended = self._arms.cancel
        try:
            return drive(try_until_past(self._case, candidates), self._replays, self._showing.wants)
        except OutOfBudget:  # there is no budget
            raise KeyboardInterrupt from None
        finally:
            self._arms.rest()

    def _estimate(self, candidates: int) -> Estimate:
        case, workers = self._case, self._means.workers
        count = round(_ARMS * candidates)
        expected = self.iterations + count * (case.until - case.start)
        return Estimate(count, expected, expected * case.seconds / workers, workers)

    def _follow(self, progress: Progress) -> None:
        self._showing.progress(progress)
        self._showing.show(self._replays)

    def _keep(self, result: ArmResult) -> None:
        self._showing.show(self._replays)

    def close(self) -> None:
        self._arms.close()


@contextmanager
def replaying(question: Question, case: Case, means: Means) -> Iterator[Replaying]:
    """Have candidates replayed in the block, between which restarts may be made; signals end them.

    Raises:
        KeyboardInterrupt: at the end of the block, where somebody has asked for an end.
    """
    with locked(question.run), means.interrupts.handled(lambda: None):
        replays = Replaying(question, case, means)
        try:
            yield replays
        finally:
            replays.close()
        means.check_interrupted()
