"""Estimate what an investigation will take, before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from harness.explaining.question import Question
from harness.quantities import duration

_ARMS = 80  # replays over the whole horizon that investigations take, about
_SHORT, _SHORT_LENGTH = 60, 2  # of single records, and the iterations of each
_START = 3.0  # seconds until workers have their checkpoint
_BUILD = 0.05  # seconds in which a replay builds its solver


@dataclass(frozen=True)
class Estimate:
    """Replays, iterations and seconds that an investigation takes with some workers, about."""

    replays: int
    iterations: int
    seconds: float
    workers: int

    def __str__(self) -> str:
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        return (
            f"about {self.replays} replays, {self.iterations:,} iterations, {duration(_nice(self.seconds))} "
            f"with {workers}"
        )


def estimate(question: Question, workers: int) -> Estimate:
    """Estimate an investigation of `question`, the way to its start included."""
    case = question.case
    arms = _ARMS * case.horizon + _SHORT * _SHORT_LENGTH
    leads = workers * (case.start - case.first)
    replays = _ARMS + _SHORT
    seconds = (
        _START + case.seconds * (question.way + leads / workers) + (case.seconds * arms + _BUILD * replays) / workers
    )
    return Estimate(replays, _rounded(question.way + leads + arms), seconds, workers)


def _rounded(count: int) -> int:
    """Round to two digits."""
    return int(float(f"{count:.2g}"))


def _nice(seconds: float) -> float:
    """Round to what an estimate can tell: 10 seconds, minutes, or quarters of an hour."""
    step = 10 if seconds < 120 else 60 if seconds < 3600 else 900
    return float(max(step, round(seconds / step) * step))
