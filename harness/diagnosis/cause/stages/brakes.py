"""The point of no return: the last iteration from which a brake still heals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.judging import end_level
from harness.diagnosis.cause.observing import measure
from harness.diagnosis.cause.surviving import survives
from harness.diagnosis.cause.trials import Procedure, Trial
from harness.schemas.arm import AnyChange, Arm, ArmResult, HistoryScaled, RateScaled, SolverField

STAGE = "point of no return"
_LONGER = 1.5  # times as long as others, since a lower rate recovers more slowly


@dataclass(frozen=True)
class _Brake:
    """Slows the training from an iteration on, without the history of before; `clip` None: by a tenth of its rate."""

    words: str
    clip: float | None = None

    def changes(self, start: int) -> tuple[AnyChange, ...]:
        if self.clip is None:
            return RateScaled(0.1, start), HistoryScaled(0.0)
        return SolverField("clip_gradients", repr(self.clip)), HistoryScaled(0.0)


def find_point_of_no_return(case: Case, cause: int) -> Procedure[int | None]:
    """Return the last iteration from which the brake that is best at the cause heals, or is about to.

    It is searched under the assumption that a brake that comes later does not heal where an earlier one did not. None
    where no brake heals even at the cause, and where it still does at the end of what arms otherwise compute.
    """
    brakes = [_Brake("rate × 0.1")]
    if math.isfinite(case.usual_gradient) and case.usual_gradient > 0:
        clip = float(f"{case.usual_gradient:.3g}")
        brakes.append(_Brake(f"gradient clipped to {clip:g}", clip))
    tried = yield from _braked(case, [(brake, cause) for brake in brakes])
    healing = [
        (end_level(result.loss), brake) for brake, result in zip(brakes, tried, strict=True) if _heals(case, result)
    ]
    if not healing:
        return None
    best = min(healing, key=lambda one: one[0])[1]
    good, bad, last = cause, None, cause + case.after
    steps = [cause + 1, cause + 2]  # two workers are busy; beyond, arms that are not needed cost more
    while bad is None and good < last:
        good, bad = yield from _narrowed(case, best, good, [step for step in steps if step <= last])
        steps = [min(cause + 2 * (good - cause), last)]
    while bad is not None and bad - good > 1:
        good, tighter = yield from _narrowed(case, best, good, [(good + bad) // 2])
        bad = bad if tighter is None else tighter
    return None if bad is None else good


def _narrowed(case: Case, brake: _Brake, good: int, steps: list[int]) -> Procedure[tuple[int, int | None]]:
    """Return the last of `steps` before the first that does not heal (`good` if there is none), and that one."""
    results = yield from _braked(case, [(brake, step) for step in steps])
    for step, result in zip(steps, results, strict=True):
        if not _heals(case, result):
            return good, step
        good = step
    return good, None


def _braked(case: Case, wanted: list[tuple[_Brake, int]]) -> Procedure[list[ArmResult]]:
    trials = [
        Trial(
            f"{brake.words}, no history, from {start:,}",
            "brake",
            (Arm(start, int(_LONGER * case.rest(start)), brake.changes(start)),),
        )
        for brake, start in wanted
    ]
    results = yield from measure(STAGE, trials)
    return [results[trial.arms[0].key] for trial in trials]


def _heals(case: Case, result: ArmResult) -> bool:
    return survives(result, case.levels) is True
