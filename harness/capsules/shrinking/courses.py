"""The losses of a capsule's run, and whether those of a changed one break alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.capsules.repeating.repetition import course_of
from harness.capsules.repeating.verdict import ONSETS_APART, TOTAL, Course, same_level
from harness.diagnosis.recorded.diagnose import diagnose
from harness.recording import Recording


def read_course(run: Path) -> Course:
    """Read the course of the run directory `run`, and diagnose its onset.

    Raises:
        BadInput, RecordingError: it cannot be read.
    """
    with Recording(run, may_repair=False) as recording:
        onset = diagnose(recording).onset
        return course_of(recording, None if onset is None else onset.iteration)


@dataclass(frozen=True)
class Reference:
    """The break that is to remain: that of a `course` which ends before iteration `until`."""

    course: Course
    until: int

    def breaks_alike(self, other: Course, first: int, until: int) -> bool:
        """Check that `other`, whose iterations `first` … `until` - 1 were trained, has the same break.

        Its onset is at most one iteration away, all heads end at the same levels, and up to the onset the loss is
        nearer to where it was before than to where it ends, unless that was not so in `course` either.
        """
        assert self.course.onset is not None
        if other.onset is None or abs(other.onset - self.course.onset) > ONSETS_APART:
            return False
        before, end = (
            self.course.level_before(self.course.onset),
            self.course.level_after(self.course.onset, self.until),
        )
        now = other.level_after(other.onset, until)
        healthy = self._is_healthy(other, first) or not self._is_healthy(self.course, first)
        return healthy and all(same_level(before[name], level, now[name]) for name, level in end.items() if name in now)

    def _is_healthy(self, other: Course, first: int) -> bool:
        """Check the loss of the iterations from `first` to the onset of `other`; where it begins with it, nothing."""
        assert self.course.onset is not None
        assert other.onset is not None
        rows = (other.iterations >= first) & (other.iterations < other.onset)
        if not rows.any():
            return True
        start = float(np.median(other.losses[TOTAL][rows]))
        healthy = self.course.level_before(self.course.onset)[TOTAL]
        broken = self.course.level_after(self.course.onset, self.until)[TOTAL]
        if not np.isfinite(broken):
            return bool(np.isfinite(start))
        return bool(abs(start - healthy) < abs(start - broken))
