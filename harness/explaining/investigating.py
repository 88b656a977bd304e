"""Carry out an investigation: have the trials replayed that it wants, and write down what is found after each stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from harness import __version__
from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.investigate import Finding
from harness.diagnosis.cause.trials import Found, OutOfBudget, Procedure, Trial, Wanted
from harness.explaining.estimate import Stored
from harness.explaining.question import Question
from harness.explaining.replays import Replays
from harness.explaining.summaries import summary
from harness.schemas.arm import Arm, ArmResult
from harness.schemas.explanation import Cost, Explanation

Investigation = Callable[[Case], Procedure[Finding]]


@dataclass(frozen=True)
class Stage:
    """How far an investigation is.

    Attributes:
        name: of what it does now; empty at the end.
        trials: those that were wanted so far, in this order.
        finding: what is found so far.
    """

    name: str
    trials: tuple[Trial, ...]
    finding: Finding


def carry_out(
    investigation: Investigation,
    case: Case,
    replays: Replays,
    wants: Callable[[Wanted], None],
    done: Callable[[Stage], None],
) -> Stage:
    """Carry out an investigation, until it ends, or the budget or an interruption ends it.

    Args:
        wants: called with the trials that are replayed next.
        done: called when a stage has ended.

    Raises:
        BadInput, RecordingError, RecordingFailed: as `Replays.replay`.
    """
    trials: dict[str, Trial] = {}
    stage = ""

    def wanted(next_ones: Wanted) -> None:
        nonlocal stage
        if stage and next_ones.stage != stage:
            done(Stage(next_ones.stage, tuple(trials.values()), so_far(investigation, case, replays.found)))
        stage = next_ones.stage
        trials.update((trial.name, trial) for trial in next_ones.trials)
        wants(next_ones)

    finding = drive(investigation(case), replays, wanted)
    return Stage("", tuple(trials.values()), finding)


def drive(procedure: Procedure[Found], replays: Replays, wants: Callable[[Wanted], None]) -> Found:
    """Have the trials replayed that a procedure wants, until it ends, and return what it found.

    Args:
        wants: called with the trials that are replayed next.

    Raises:
        BadInput, RecordingError, RecordingFailed: as `Replays.replay`.
    """
    try:
        wanted = next(procedure)
        while True:
            wants(wanted)
            try:
                replays.replay(arm for trial in wanted.trials for arm in trial.arms)
            except OutOfBudget as over:
                wanted = procedure.throw(over)
            else:
                wanted = procedure.send(replays.found)
    except StopIteration as end:
        found: Found = end.value
        return found


def so_far(investigation: Investigation, case: Case, found: Mapping[str, ArmResult]) -> Finding:
    """Return what an investigation finds from the results that there are, without any more."""
    procedure = investigation(case)
    try:
        wanted = next(procedure)
        while True:
            if all(arm.key in found for trial in wanted.trials for arm in trial.arms):
                wanted = procedure.send(found)
            else:
                wanted = procedure.throw(OutOfBudget())
    except StopIteration as end:
        finding: Finding = end.value
        return finding


def stored_of(investigation: Investigation, case: Case, stored: Callable[[Arm], ArmResult | None]) -> Stored:
    """Count the replays that an investigation wants first, up to those that are not stored."""
    procedure = investigation(case)
    found: dict[str, ArmResult] = {}
    is_all = False
    try:
        wanted = next(procedure)
        while True:
            arms = {arm.key: arm for trial in wanted.trials for arm in trial.arms if arm.key not in found}
            found |= {key: result for key, arm in arms.items() if (result := stored(arm)) is not None}
            if not arms.keys() <= found.keys():
                break
            wanted = procedure.send(found)
    except StopIteration:
        is_all = True
    return Stored(len(found), sum(len(result.loss) for result in found.values()), is_all)


def explanation_of(
    question: Question, stage: Stage, found: Mapping[str, ArmResult], cost: Cost, not_exact: Sequence[str]
) -> Explanation:
    """Return explain.json of an investigation that is as far as `stage`.

    Args:
        not_exact: what may keep replays from the recorded bits.
    """
    finding, case = stage.finding, question.case
    control = finding.control
    if control is not None:
        reasons = tuple(dict.fromkeys((*control.not_exact, *not_exact)))
        control = msgspec.structs.replace(control, not_exact=reasons)
    summaries = (summary(question.run, case.levels, trial, found) for trial in stage.trials)
    return Explanation(
        verdict=finding.verdict,
        control=control,
        arms=tuple(one for one in summaries if one is not None),
        margins=finding.margins,
        point_of_no_return=finding.point_of_no_return,
        rewind=finding.rewind,
        cost=cost,
        curvature=finding.curvature,
        levels=case.levels,
        complete=not stage.name and not finding.left_out,
        left_out=finding.left_out,
        harness=__version__,
    )
