"""Examine a recorded run after it broke: the results that reports, notebooks and figures show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.diagnosis.last_good import Choice, last_good
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.live.rows import Names
from harness.diagnosis.recorded.diagnose import Diagnosis, diagnose
from harness.diagnosis.recorded.distributions import moments_of
from harness.diagnosis.recorded.onset import span_of
from harness.diagnosis.recorded.propagation import Departure, propagation
from harness.diagnosis.recorded.run_status import RunStatus, run_status
from harness.recording import Recording
from harness.schemas.layout import Alarm, Param
from harness.schemas.onset import Onset

_BEFORE, _AFTER = 60, 100  # iterations around an onset that are shown one by one


@dataclass(frozen=True)
class PostMortem:
    """The results for one run.

    Attributes:
        span: iterations over which levels are taken.
        last_good: the last good snapshot; None where there is none.
        around: rows of the recording around the onset, to show one by one.
        offender: the param blob to look into first.
        moments: iterations of a window to compare.
    """

    names: Names
    span: int
    diagnosis: Diagnosis
    status: RunStatus
    snapshots: tuple[int, ...]
    last_good: Choice | None
    propagation: tuple[Departure, ...]
    around: slice
    offender: Param | None
    moments: tuple[int, ...]

    @property
    def onset(self) -> Onset | None:
        """The onset of the divergence; None for a run that did not diverge."""
        return self.diagnosis.onset

    def is_good(self, snapshot: int) -> bool:
        """Check whether a snapshot of that iteration is from before the onset, whose update comes after its weights."""
        return self.onset is None or snapshot <= self.onset.iteration

    @property
    def moment(self) -> int | None:
        """The iteration of a window to look into: the onset, or the first of `moments` where no window has that."""
        at = self.onset.iteration if self.onset else None
        return at if at in self.moments else next(iter(self.moments), None)

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The alarms of the run."""
        return self.diagnosis.alarms


def post_mortem(
    recording: Recording,
    display: int,
    snapshots: Sequence[int],
    limits: Limits,
    raised: Sequence[Alarm] | None = None,
) -> PostMortem:
    """Examine a recording. `display` is the solver's display interval, `snapshots` are iterations, `raised` the alarms
    where they are known (see `diagnose`)."""
    diagnosis = diagnose(recording, display, limits, raised)
    onset = diagnosis.onset
    at = onset.iteration if onset else None
    iterations = recording.iterations
    first, last = (int(iterations[0]), int(iterations[-1])) if len(iterations) else (0, -1)
    moments = moments_of(recording, at)
    row = len(iterations) if at is None else int(iterations.searchsorted(at)) + _AFTER
    return PostMortem(
        names=diagnosis.names,
        span=span_of(display),
        diagnosis=diagnosis,
        status=run_status(recording, diagnosis, display),
        snapshots=tuple(sorted(snapshots)),
        last_good=last_good(snapshots, onset, display, first, last),
        propagation=propagation(recording, at) if at is not None else (),
        around=slice(max(0, row - _BEFORE - _AFTER), min(row, len(iterations))),
        offender=_offender(recording, onset),
        moments=moments,
    )


def _offender(recording: Recording, onset: Onset | None) -> Param | None:
    params = recording.params
    named = next((p for p in params if onset is not None and p.label == onset.param), None)
    return named or next(iter(params), None)
