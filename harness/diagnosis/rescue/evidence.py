"""Evidence of an explanation about a change: its replays continue with it, or break all the same."""

from __future__ import annotations

from collections.abc import Iterator

from harness.diagnosis.cause.case import BEFORE, Case
from harness.diagnosis.cause.stages.controls import jitter_of
from harness.schemas.explanation import ArmSummary, Explanation, Margin

_BY_SETTING = ("learning-rate", "lr-schedule", "layer-lr", "momentum", "weight-decay")
_FROM_START = ("learning-rate", "layer-lr", "momentum", "weight-decay", "start-weights")
_WARM_UP = 100  # iterations from the start of a training


def placed(case: Case, found: Explanation) -> Case:
    """Return the case with arms that start where candidates do, and with the jitter of the explanation.

    Candidates begin shortly before what breaks the training acts. A setting acts for long: where another value of it
    healed only well before the onset, they begin there.
    """
    verdict, start = found.verdict, case.start
    if verdict.kind in ("record", "data-shift") and verdict.iteration is not None:
        start = min(start, verdict.iteration - BEFORE)
    elif verdict.kind in _BY_SETTING:
        healing = [arm.start for arm in trials(found, verdict.kind) if heals(arm)]
        start = min(start, max(healing, default=start))
    return case.starting(case.at - start).with_jitter(jitter_of(found.arms))


def cause_of(case: Case, found: Explanation) -> int:
    """Return the iteration from which on what breaks the training acts, or the break where that is not before it."""
    return case.at if found.verdict.iteration is None else min(case.at, found.verdict.iteration)


def acts_from_start(found: Explanation) -> bool:
    """Check whether what breaks the training has acted since it began."""
    return found.verdict.kind in _FROM_START


def stays(case: Case, found: Explanation) -> bool:
    """Check whether the cause stays, so that training would break again once it goes on as before.

    A rate may be too high at the start of a training only.
    """
    if found.verdict.kind == "learning-rate" and case.at - case.began <= _WARM_UP:
        return False
    return found.verdict.kind in _BY_SETTING


def trials(found: Explanation, kind: str) -> Iterator[ArmSummary]:
    """Yield the trials of a kind."""
    return (arm for arm in found.arms if arm.kind == kind)


def heals(trial: ArmSummary) -> bool:
    """Check whether all arms of a trial healed."""
    return trial.heals == len(trial.judgements) > 0


def shown_by(trial: ArmSummary | None) -> int:
    """Return how many replays a trial has, all of which healed; 0 if not all did, or it was not made."""
    return len(trial.judgements) if trial is not None and heals(trial) else 0


def breaks(trial: ArmSummary | None) -> bool:
    """Check whether most arms of a trial broke; False for one that was not made."""
    return trial is not None and trial.breaks > trial.heals


def continuing(trial: ArmSummary, how: str) -> str:
    """Say how many arms of a trial continued: `3 of 3 replays with half the rate continue`."""
    runs = max(trial.runs, 1)
    return f"{trial.heals} of {runs} replays {how} continue" if runs > 1 else f"a replay {how} continues"


def no_value_survives(margin: Margin | None) -> bool:
    """Check whether training breaks with every value of a setting that was tried."""
    return margin is not None and margin.survives is None and margin.breaks is not None
