"""Observe trials: have their arms replayed, judge each, and make those longer that are not clear."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.judging import judge
from harness.diagnosis.cause.trials import Procedure, Results, Seen, Trial, Wanted
from harness.schemas.arm import Arm

_TWICE = 2  # times that an arm that is not clear is made longer
_LONGEST = 400  # iterations that such an arm has at the most


def observe(case: Case, stage: str, trials: Iterable[Trial]) -> Procedure[tuple[Seen, ...]]:
    """Return what `trials` give, in their order. An arm that is not clear is made twice as long, at most twice."""
    current = list(trials)
    results: dict[str, Seen] = {}
    pending = current
    for more in range(_TWICE + 1):
        if not pending:
            break
        found = yield Wanted(stage, tuple(pending))
        for trial in pending:
            results[trial.name] = seen(case, trial, found)
        unclear = [trial for trial in pending if _may_be_longer(results[trial.name])]
        pending = [_longer(results[trial.name]) for trial in unclear] if more < _TWICE else []
    return tuple(results[trial.name] for trial in current)


def measure(stage: str, trials: Sequence[Trial]) -> Procedure[Results]:
    """Return the results of `trials`, whose ends say nothing: arms of a few iterations."""
    return (yield Wanted(stage, tuple(trials)))


def seen(case: Case, trial: Trial, found: Results) -> Seen:
    """Judge the arms of a trial."""
    results = tuple(found[arm.key] for arm in trial.arms)
    return Seen(trial, results, tuple(judge(result, case.levels) for result in results))


def _longer(before: Seen) -> Trial:
    """Return the trial with those of its arms that are not clear twice as long."""
    arms = [
        _stretched(arm) if judgement == "unclear" and _is_short(arm) else arm
        for arm, judgement in zip(before.trial.arms, before.judgements, strict=True)
    ]
    return Trial(before.trial.name, before.trial.kind, tuple(arms))


def _may_be_longer(seen: Seen) -> bool:
    return any(j == "unclear" and _is_short(arm) for arm, j in zip(seen.trial.arms, seen.judgements, strict=True))


def _is_short(arm: Arm) -> bool:
    return 2 * arm.horizon <= _LONGEST


def _stretched(arm: Arm) -> Arm:
    return msgspec.structs.replace(arm, horizon=2 * arm.horizon)
