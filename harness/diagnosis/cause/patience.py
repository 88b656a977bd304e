"""Patience with arms that recover slowly: those that have left the broken level, and fall, are made longer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.judging import recovers
from harness.diagnosis.cause.observing import observe
from harness.diagnosis.cause.trials import Procedure, Seen, Trial
from harness.schemas.arm import Arm, ArmResult
from harness.schemas.explanation import Judgement

_TWICE = 2  # times that such an arm is made twice as long
_LONGEST = 400  # iterations that it has at the most


def observe_falling(
    case: Case, stage: str, trials: Iterable[Trial], slow: Sequence[str]
) -> Procedure[tuple[Seen, ...]]:
    """Return what `trials` give, as `observe` does, but make arms longer as well whose loss falls at a broken end.

    A training heals slowly from damage that is done, and with a lower rate more slowly still.

    Args:
        slow: kinds of trials of which arms may be made longer for that.
    """
    found = {seen.trial.name: seen for seen in (yield from observe(case, stage, trials))}
    for _ in range(_TWICE):
        of_slow = [seen for seen in found.values() if seen.trial.kind in slow]
        longer = [trial for seen in of_slow if (trial := _longer(case, seen)) != seen.trial]
        if not longer:
            break
        found |= {seen.trial.name: seen for seen in (yield from observe(case, stage, longer))}
    return tuple(found.values())


def _longer(case: Case, seen: Seen) -> Trial:
    """Return a trial with those of its arms twice as long that fall at a broken end."""
    arms = (
        _stretched(result.arm) if _falls(case, result, how) else arm
        for arm, result, how in zip(seen.trial.arms, seen.results, seen.judgements, strict=True)
    )
    return Trial(seen.trial.name, seen.trial.kind, tuple(arms))


def _falls(case: Case, result: ArmResult, how: Judgement) -> bool:
    return how == "broken" and recovers(result, case.levels) and 2 * result.arm.horizon <= _LONGEST


def _stretched(arm: Arm) -> Arm:
    return msgspec.structs.replace(arm, horizon=2 * arm.horizon)
