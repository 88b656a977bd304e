"""Replays within a budget: arms are replayed as long as it lasts and nobody interrupts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness import __version__
from harness.budget import Budget
from harness.diagnosis.cause.trials import OutOfBudget
from harness.errors import BadInput, RecordingError
from harness.experiments import Arms
from harness.schemas.arm import Arm, ArmResult
from harness.supervisor.signals import Interrupts
from harness.training_data.records import RecordsUnknown


@dataclass(frozen=True)
class Spent:
    """What this command has spent: arms that were replayed, their iterations, and seconds since it began."""

    arms: int
    iterations: int
    seconds: float


class Replays:
    """Has arms of a run replayed, and keeps their results.

    Args:
        arms: of the run.
        way: the iterations of the replay that goes to the first of their starts, which count once it is made.
        notify: called with each result, as soon as it is there.

    Attributes:
        found: the results, by the key of the arm.
    """

    def __init__(
        self,
        arms: Arms,
        way: int,
        workers: int,
        budget: Budget,
        interrupts: Interrupts,
        notify: Callable[[ArmResult], None],
    ) -> None:
        self.found: dict[str, ArmResult] = {}
        self._arms, self._way, self._workers = arms, way, workers
        self._budget, self._interrupts, self._notify = budget, interrupts, notify
        self._begun = time.monotonic()
        self._count = self._iterations = 0
        self._prepared = False

    @property
    def spent(self) -> Spent:
        return Spent(self._count, self._iterations, time.monotonic() - self._begun)

    @property
    def interrupted(self) -> bool:
        """Whether somebody has asked for an end."""
        return self._interrupts.stop is not None

    def replay(self, wanted: Iterable[Arm]) -> None:
        """Have those of the arms replayed that have no result; `found` has all of them then.

        An arm that is not possible gets the result "refused".

        Raises:
            OutOfBudget: the budget is used up, or somebody has interrupted; what is finished by then is in `found`.
            BadInput, RecordingError: no arm of this run is possible.
            RecordingFailed: the disk is full.
        """
        waiting = deque(arm for arm in {arm.key: arm for arm in wanted}.values() if not self._is_known(arm))
        under_way: dict[str, Arm] = {}
        while waiting or under_way:
            self._submit(waiting, under_way)
            if not under_way:
                break
            for result in self._arms.results():
                under_way.pop(result.arm.key, None)
                self._count += 1
                self._iterations += len(result.loss)
                self._keep(result)
                self._submit(waiting, under_way)
            if self.interrupted:
                raise OutOfBudget
        if waiting:
            raise OutOfBudget

    def _is_known(self, arm: Arm) -> bool:
        """Check whether an arm has a result, here or in the run directory."""
        if arm.key not in self.found:
            stored = self._arms.stored(arm)
            if stored is not None:
                self._keep(stored)
        return arm.key in self.found

    def _submit(self, waiting: deque[Arm], under_way: dict[str, Arm]) -> None:
        """Submit arms until each worker has one and another one waits, as far as the budget allows."""
        while waiting and len(under_way) <= self._workers and not self._is_over(under_way):
            self._prepare()
            arm = waiting.popleft()
            try:
                self._arms.submit([arm])
            except (BadInput, RecordsUnknown) as error:
                self._keep(ArmResult(arm=arm, ended="refused", why=str(error), harness=__version__))
            else:
                under_way[arm.key] = arm

    def _prepare(self) -> None:
        """Go to the first start, once."""
        if self._prepared:
            return
        try:
            self._arms.prepare()
        except RecordingError:
            if self.interrupted:
                raise OutOfBudget from None
            raise
        self._iterations += self._way
        self._prepared = True

    def _is_over(self, under_way: dict[str, Arm]) -> bool:
        planned = sum(arm.horizon for arm in under_way.values())
        return self.interrupted or self._budget.spent(self._begun, self._iterations + planned)

    def _keep(self, result: ArmResult) -> None:
        self.found[result.arm.key] = result
        self._notify(result)
