"""Controls: unchanged replays, and replays from jittered weights, which tell how chaotic the training is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.observing import observe
from harness.diagnosis.cause.trials import Procedure, Seen, Trial
from harness.schemas.arm import Arm, ArmResult, WeightsJittered
from harness.schemas.explanation import ArmSummary, ControlSummary

_JITTERS = (1e-3, 1e-5)  # tried in this order: the largest with which the control still breaks is used
_RUNS = 2
STAGE = "control"


@dataclass(frozen=True)
class Controls:
    """What the unchanged replays gave.

    Attributes:
        unchanged: two of them.
        jittered: those from jittered weights, for each amount that was tried.
        jitter: the largest amount with which training still breaks; 0 if it does not even with the smallest.
        compared: iterations whose digests were compared.
        first_difference: the first iteration whose weights differ from those recorded; None if there is none.
        agree: the unchanged replays have the same digests.
    """

    unchanged: Seen
    jittered: tuple[Seen, ...]
    jitter: float
    compared: int
    first_difference: int | None
    agree: bool

    @property
    def identical(self) -> bool:
        return self.compared > 0 and self.first_difference is None

    @property
    def outcome(self) -> Literal["breaks", "does not break", "not known"]:
        judgements = set(self.unchanged.judgements)
        if judgements == {"broken"} or (self.identical and judgements <= {"broken", "unclear"}):
            return "breaks"  # as what was recorded did; where that swings, the end of an arm may be unclear
        return "does not break" if self.unchanged.all_heal else "not known"

    def summary(self, not_exact: tuple[str, ...] = ()) -> ControlSummary:
        """Return it as explain.json has it."""
        seen = self.unchanged
        counts = (self.compared, seen.breaks, len(seen.judgements))
        return ControlSummary(self.identical, *counts, self.first_difference, not_exact)


def find_controls(case: Case) -> Procedure[Controls]:
    """Replay without a change, twice, and from jittered weights."""
    unchanged = Trial("unchanged", "control", tuple(Arm(case.start, case.horizon, seed=seed) for seed in range(_RUNS)))
    (seen,) = yield from observe(case, STAGE, [unchanged])
    compared, first = _compare(case, seen.results[0])
    digests = [(*result.digest, result.final_digest) for result in seen.results]
    agree = all(one == digests[0] for one in digests)
    found = Controls(seen, (), 0.0, compared, first, agree)
    jittered: list[Seen] = []
    jitter = 0.0
    if found.outcome == "breaks":
        for amount in _JITTERS:
            arms = tuple(Arm(case.start, case.horizon, (WeightsJittered(amount),), seed) for seed in range(_RUNS))
            (tried,) = yield from observe(case, STAGE, [Trial(_jittered_by(amount), "control", arms)])
            jittered.append(tried)
            if not tried.heals and tried.breaks:
                jitter = amount
                break
    return replace(found, jittered=tuple(jittered), jitter=jitter)


def jitter_of(trials: Iterable[ArmSummary]) -> float:
    """Return the jitter that an investigation has used, from its trials."""
    tried = {trial.name: trial for trial in trials if trial.breaks and not trial.heals}
    return next((amount for amount in _JITTERS if _jittered_by(amount) in tried), 0.0)


def _jittered_by(amount: float) -> str:
    return f"weights × (1 ± {amount:g})"


def _compare(case: Case, control: ArmResult) -> tuple[int, int | None]:
    """Compare the digests of a control with the recorded ones: how many, and the first iteration that differs."""
    ours = [*control.digest, *([] if control.final_digest is None else [control.final_digest])]
    row = case.row(control.arm.start)
    theirs = case.digest[row : row + len(ours)].tolist()
    pairs = list(zip(ours, theirs, strict=False))
    first = next((number for number, (a, b) in enumerate(pairs) if a != b), None)
    return len(pairs), None if first is None else control.arm.start + first
