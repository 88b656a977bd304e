"""Judge whether a stretch of a training that was repeated broke as it did when it was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.diagnosis.robust_stats import Bools, Floats
from harness.schemas.repetition import Kind, LossLevel, Verdict
from harness.schemas.run_info import Verification

ONSETS_APART = 1  # iterations: a break at most so much earlier or later is the same one
BEFORE = 50  # iterations before the onset whose median is the level before it
SETTLED = 5  # iterations after the onset; the median of those that follow is the level after it
_OF_THE_JUMP = 0.25  # of a head's jump: levels as close as this are the same…
_OF_THE_LEVEL = 0.1  # …and so are those as close as this share of the level
TOTAL = "total loss"  # the weighted sum of the heads, as one of the losses


@dataclass(frozen=True)
class Course:
    """The losses of a training, iteration by iteration.

    Attributes:
        iterations: (n,) ascending.
        losses: (n,) each: of each head by name, and their weighted sum as TOTAL.
        onset: the first iteration whose update does the damage; None without one.
    """

    iterations: npt.NDArray[np.int64]
    losses: Mapping[str, Floats]
    onset: int | None

    def level_before(self, iteration: int) -> Mapping[str, float]:
        """Return the median of each loss before `iteration`."""
        return self._medians((self.iterations < iteration) & (self.iterations >= iteration - BEFORE))

    def level_after(self, iteration: int, until: int) -> Mapping[str, float]:
        """Return the median of each loss after `iteration`, up to iteration `until` - 1."""
        start = min(iteration + SETTLED, until - 1)
        return self._medians((self.iterations >= start) & (self.iterations < until))

    def _medians(self, rows: Bools) -> Mapping[str, float]:
        """Return the median of each loss in `rows`; NaN where there are none."""
        return {name: float(np.median(loss[rows])) if rows.any() else np.nan for name, loss in self.losses.items()}


def judge(
    recorded: Course,
    repeated: Course,
    verification: Verification,
    first: int,
    until: int,
    *,
    ended: str | None = None,
    reasons: tuple[str, ...] = (),
) -> Verdict:
    """Judge the iterations `first` … `until` - 1.

    Args:
        recorded: with iterations before `first`.
        repeated: of the stretch, or of its beginning.
        verification: the comparison of their digests.
        ended: why it was not repeated to its end.
        reasons: what may be why their bits differ.
    """
    levels = _levels(recorded, repeated, first, until)
    return Verdict(
        kind=_kind(recorded, repeated, verification, until - first, levels, ended),
        iterations=until - first,
        equal=verification.equal,
        first_difference=verification.first_difference,
        onset=recorded.onset,
        repeated_onset=repeated.onset,
        levels=levels,
        ended=ended,
        reasons=reasons,
    )


def onset_by_level(recorded: Course, repeated: Course, first: int, until: int) -> int | None:
    """Tell the onset of what was repeated by when its loss passes half way to the level after the break.

    It is as far from the recorded onset as that is from when the recorded loss passes there. None if it never does.
    """
    assert recorded.onset is not None
    before = recorded.level_before(recorded.onset)[TOTAL]
    after = recorded.level_after(recorded.onset, until)[TOTAL]
    passes = [_passes(course, first, before, after) for course in (recorded, repeated)]
    if passes[0] is None or passes[1] is None:
        return None
    return recorded.onset + passes[1] - passes[0]


def _passes(course: Course, first: int, before: float, after: float) -> int | None:
    """Return the first iteration from `first` on whose loss is nearer to `after` than to `before`, or not finite."""
    loss = course.losses[TOTAL]
    beyond = ~np.isfinite(loss)
    if np.isfinite(after):
        beyond |= np.abs(loss - after) < np.abs(loss - before)
    found = course.iterations[beyond & (course.iterations >= first)]
    return int(found[0]) if len(found) else None


def _kind(
    recorded: Course,
    repeated: Course,
    verification: Verification,
    iterations: int,
    levels: tuple[LossLevel, ...],
    ended: str | None,
) -> Kind:
    whole = verification.first_difference is None and verification.equal == iterations
    if whole and ended is None:
        return Kind.SAME_BITS
    if ended is not None or not all(level.same for level in levels):
        return Kind.DIFFERENT
    if recorded.onset is None:
        return Kind.SAME_COURSE if repeated.onset is None else Kind.DIFFERENT
    near = repeated.onset is not None and abs(repeated.onset - recorded.onset) <= ONSETS_APART
    return Kind.SAME_BREAK if near else Kind.DIFFERENT


def _levels(recorded: Course, repeated: Course, first: int, until: int) -> tuple[LossLevel, ...]:
    at = first if recorded.onset is None else recorded.onset
    before = recorded.level_before(at)
    then, now = recorded.level_after(at, until), repeated.level_after(at, until)
    return tuple(
        LossLevel(name, before[name], then[name], now[name], same_level(before[name], then[name], now[name]))
        for name in then
        if name in now
    )


def same_level(before: float, recorded: float, repeated: float) -> bool:
    """Check that a loss which was at the level `before` is at one level after a break, as recorded and as repeated."""
    if not (np.isfinite(recorded) and np.isfinite(repeated)):
        return bool(np.isfinite(recorded) == np.isfinite(repeated))
    jump = abs(recorded - before) if np.isfinite(before) else 0.0
    return bool(abs(repeated - recorded) <= max(_OF_THE_JUMP * jump, _OF_THE_LEVEL * abs(recorded)))
