"""The question to be explained: a run, the iteration at which it went wrong, and from where it can be replayed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.budget import Budget
from harness.caffe_files.messages import parse_text, pb
from harness.diagnosis.cause.case import BEFORE, Case, read_case, sorted_from, start_within_reach
from harness.diagnosis.cause.stages.factors import reach
from harness.diagnosis.cause.stages.start_weights import FAR
from harness.diagnosis.cause.start_sizes import unusual_sizes
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.errors import BadInput, RecordingError
from harness.recording import Recording
from harness.replay import Nearest, nearest
from harness.replay.replaying import working_directory
from harness.schemas.run_info import RunInfo

_LONGEST_ORDER = 300  # iterations of records that come in the order of their class that are looked into
_NEARER, _FARTHER = 0.6, 1.4  # times that: a state that was kept between these will do
_SHARE = 0.1  # of the budget, for the iterations between there and where most arms start
_LONG = 60.0  # seconds of a replay that goes there, for which a nearer state is preferred


@dataclass(frozen=True)
class Question:
    """Why did a run go wrong?

    Attributes:
        run: the run directory.
        info: its run.json.
        case: the facts.
        begin: where the unchanged replay to `case.first` begins.
    """

    run: Path
    info: RunInfo
    case: Case
    begin: Nearest

    @property
    def way(self) -> int:
        """The iterations of that replay."""
        return self.case.first - self.begin.iteration


def question_of(recording: Recording, diagnosis: Diagnosis, at: int | None, budget: Budget) -> Question | None:
    """Read the question of a run that has ended; None where it has no onset, and no iteration `at` is given.

    Raises:
        BadInput: `at` was not recorded, or there is nothing to replay from.
        RecordingError: the recording cannot be read.
    """
    run, info = recording.path.parent.absolute(), diagnosis.info
    if recording.live:
        raise BadInput("the run is in progress", file=run, remedy="Wait until it has ended, or stop it")
    if at is None:
        if diagnosis.onset is None:
            return None
        at = start_within_reach(recording, diagnosis.onset.iteration)
    _check_recorded(recording, info, at)
    seconds = float(np.nanmedian(recording.series("seconds", slice(0, len(recording.iterations)))))
    with working_directory(info):
        back = _back(max(_reach(diagnosis, at), _to_start(recording, info, at, seconds)), seconds, budget)
        first, begin = _beginning(run, info, at, back, seconds)
    return Question(run, info, read_case(recording, diagnosis, at, first, begin.iteration), begin)


def _check_recorded(recording: Recording, info: RunInfo, at: int) -> None:
    iterations, run = recording.iterations, recording.path.parent
    if not len(iterations):
        raise BadInput("no iteration was recorded", file=run, remedy="Give another run")
    last = int(iterations[-1])
    if info.first <= at <= last:
        return
    remedy = f"Give an iteration from {info.first} to {last}"
    if at < info.first and info.goes_on_from is not None:
        remedy += f", or explain {info.goes_on_from}, which this run continues"
    raise BadInput(
        f"the run trained iterations {info.first:,} to {last:,}", file=run, field="--at", value=at, remedy=remedy
    )


def _reach(diagnosis: Diagnosis, at: int) -> int:
    """Return how many iterations before the break arms shall be able to start, if that state is cheap to reach."""
    first = sorted_from(diagnosis, at)
    order = 0 if first is None else min(math.ceil((at - first + BEFORE) / _NEARER), _LONGEST_ORDER)
    return max(reach(diagnosis.solver), order)


def _to_start(recording: Recording, info: RunInfo, at: int, seconds: float) -> int:
    """Return how many iterations before the break the run began, where its start weights are unusual and that is near.

    An iteration takes `seconds`.
    """
    back = at - info.first
    if back > FAR or back * seconds > _LONG:
        return 0
    return back if unusual_sizes(recording, parse_text(info.net, pb.NetParameter, Path("run.json"))) else 0


def _back(wanted: int, seconds: float, budget: Budget) -> int:
    """Return how many iterations before the break arms shall be able to start: `wanted`, if that is cheap.

    An iteration takes `seconds`.
    """
    if budget.iterations is not None:
        most = _SHARE * budget.iterations
    elif budget.seconds is not None:
        most = _SHARE * budget.seconds / max(seconds, 1e-6)
    else:
        return wanted
    return int(min(wanted, max(BEFORE, most)))


def _beginning(run: Path, info: RunInfo, at: int, back: int, seconds: float) -> tuple[int, Nearest]:
    """Return the iteration from which on arms can start, and where the replay that goes there begins.

    Raises:
        BadInput: there is none up to `at`: nothing was kept, or what was kept is damaged or gone.
    """
    wanted = max(info.first, at - back)
    try:
        kept = nearest(run, info, max(info.first, at - int(_NEARER * back)) if wanted > info.first else wanted)
        if kept.iteration >= at - _FARTHER * back:
            return kept.iteration, kept
        begin = nearest(run, info, wanted)
    except (BadInput, RecordingError):  # what the run began from is gone; a later snapshot may be there
        begin = nearest(run, info, at)
        return begin.iteration, begin
    if (wanted - begin.iteration) * seconds > _LONG:
        kept = nearest(run, info, max(info.first, at - BEFORE))
        if kept.iteration > wanted:
            return kept.iteration, kept
    return wanted, begin
