"""Whether a training survives what broke it: judged in one way, by those who search for limits and in all tables."""

from __future__ import annotations

from harness.diagnosis.cause.judging import judge, recovers
from harness.schemas.arm import ArmResult
from harness.schemas.explanation import Judgement, Levels

_SURVIVAL = ("margin", "brake")  # kinds of trials that ask whether a training survives


def survives(result: ArmResult, levels: Levels) -> bool | None:
    """Tell whether a training has healed at the end of an arm, or is about to; None if it was not made to the end.

    Near a limit it would take too long to wait for the healthy level.
    """
    return None if result.ended in ("died", "refused") else recovers(result, levels)


def judged(kind: str, result: ArmResult, levels: Levels) -> Judgement:
    """Judge an arm of a trial of that kind: healed where a training survives, if the trial asks for that."""
    alive = survives(result, levels)
    if kind not in _SURVIVAL or alive is None:
        return judge(result, levels)
    return "healed" if alive else "broken"
