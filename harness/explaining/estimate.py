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
    """Replays that an investigation takes, about, and the iterations and seconds that are left of it with some workers.

    Attributes:
        stored: the replays that an earlier command has made.
    """

    replays: int
    iterations: int
    seconds: float
    workers: int
    stored: int = 0

    def __str__(self) -> str:
        if self.stored and not self.iterations:
            return f"all of its {self.replays} replays are stored"
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        stored = f", of which {self.stored} {'is' if self.stored == 1 else 'are'} stored" if self.stored else ""
        left = "; left are " if self.stored else ", "
        takes = f"{self.iterations:,} iterations, {duration(_nice(self.seconds))} with {workers}"
        return f"about {self.replays} replays{stored}{left}{takes}"


@dataclass(frozen=True)
class Stored:
    """Replays that an earlier command has made, and their iterations; `is_all`: the investigation wants no others."""

    replays: int = 0
    iterations: int = 0
    is_all: bool = False


def estimate(question: Question, workers: int, stored: Stored) -> Estimate:
    """Estimate an investigation of `question`, the way to its start included."""
    if stored.is_all:
        return Estimate(stored.replays, 0, 0.0, workers, stored.replays)
    case = question.case
    planned = _ARMS * case.horizon + _SHORT * _SHORT_LENGTH
    arms = max(planned - stored.iterations, case.horizon)
    leads = workers * (case.start - case.first)
    replays = max(_ARMS + _SHORT - stored.replays, 1)
    seconds = (
        _START + case.seconds * (question.way + leads / workers) + (case.seconds * arms + _BUILD * replays) / workers
    )
    iterations = _rounded(question.way + leads + arms)
    return Estimate(stored.replays + replays, iterations, seconds, workers, stored.replays)


def _rounded(count: int) -> int:
    """Round to two digits."""
    return int(float(f"{count:.2g}"))


def _nice(seconds: float) -> float:
    """Round to what an estimate can tell: 10 seconds, minutes, or quarters of an hour."""
    step = 10 if seconds < 120 else 60 if seconds < 3600 else 900
    return float(max(step, round(seconds / step) * step))
