"""The verdict on a stretch of a training that was repeated."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """The outcome of repeating a stretch of a training."""

    SAME_BITS = "same bits"
    SAME_BREAK = "same break, other bits"
    SAME_COURSE = "same course, other bits"  # of a stretch in which nothing breaks
    DIFFERENT = "different"


@dataclass(frozen=True)
class LossLevel:
    """The level of a loss after the break, as recorded and as repeated; before it, it was `before`."""

    name: str
    before: float
    recorded: float
    repeated: float
    same: bool


@dataclass(frozen=True)
class Verdict:
    """What repeating a stretch of a training has shown.

    Attributes:
        iterations: how many were to be repeated.
        equal: how many of them began with the recorded weights.
        first_difference: the first iteration whose weights differ; None if none do.
        onset: of the recorded break; None where nothing broke.
        repeated_onset: of the repeated one.
        levels: of the weighted total and of each head.
        ended: why the repetition ended before its end; None if it did not.
        reasons: what is known to be other than when it was recorded: processor, kernels, threads, build.
    """

    kind: Kind
    iterations: int
    equal: int
    first_difference: int | None
    onset: int | None
    repeated_onset: int | None
    levels: tuple[LossLevel, ...]
    ended: str | None = None
    reasons: tuple[str, ...] = ()

    @property
    def reproduced(self) -> bool:
        """Whether it broke in the same way."""
        return self.kind is not Kind.DIFFERENT
