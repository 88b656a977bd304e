"""Plan a sweep: check each of its restarts, and what all of them take, before anything starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.caffe_files.solver import display_interval
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.recorded.onset import span_of
from harness.errors import BadInput
from harness.quantities import duration
from harness.recording import Recording, run_directory
from harness.recording.result_files import read_sweep
from harness.reports.text.grammar import count
from harness.reports.view_terminal import ViewTerminal
from harness.schemas.leg import Leg
from harness.schemas.run_info import RunInfo
from harness.schemas.sweep import Sweep
from harness.studies.comparing import ParentCurves, check_criterion
from harness.studies.held_directory import held
from harness.studies.leg_runs import result_of, stretches
from harness.studies.sweep_study import check_same, leg_of, planned
from harness.studies.words import Named, Words, check
from harness.supervisor.restart_plan import choice
from harness.supervisor.run_names import changes_name
from harness.supervisor.training_spec import recorded_training_spec

_MOST = 1000  # restarts of one command
_START = 4.0  # seconds that a restart takes before its first iteration, about
_RECENT = 200  # iterations of the parent from which the time of one is taken


@dataclass(frozen=True)
class SweepRequest:
    """What the user asks for.

    Attributes:
        run: the run directory, as an absolute path.
        start: "last-good", or an iteration.
        named: the restarts.
        until: None for the end of the run.
        study: the study directory, as an absolute path; None for one beside the run.
        command: the arguments.
    """

    run: Path
    start: str
    named: tuple[Named, ...]
    until: int | None
    criterion: str
    study: Path | None
    command: tuple[str, ...]


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that can start.

    Attributes:
        run: the run that is restarted; `info` is its run.json.
        wanted: the legs of `sweep` that this command makes.
        curves: of the run.
        end: the solver's max_iter.
    """

    run: Path
    info: RunInfo
    study: Path
    sweep: Sweep
    wanted: tuple[Words, ...]
    curves: ParentCurves
    end: int


@contextmanager
def planned_sweep(request: SweepRequest, workers: int, terminal: ViewTerminal) -> Iterator[SweepPlan]:
    """Check all restarts, and show what they take. Other commands are kept out of the study in the block.

    Raises:
        BadInput, RecordingError: something cannot be used, or another command works in the study. Nothing was started.
    """
    run, info = request.run, run_directory.read_info(request.run)
    if len(request.named) > _MOST:
        raise BadInput(
            f"these are {len(request.named):,} restarts", remedy=f"Give fewer values: {_MOST:,} are possible"
        )
    solver = recorded_training_spec(run / "run.json", info).solver
    check_criterion(request.criterion, run)
    limits = read_limits(None)
    chosen = choice(run, info, request.start, limits)
    from_ = chosen.iteration if request.start != "last-good" else None
    study = request.study or run.with_name(f"{run.name}-{changes_name(['sweep'], from_)}")
    until = solver.max_iter if request.until is None else request.until
    span = span_of(display_interval(solver))
    empty = Sweep(
        parent=str(run),
        start=chosen.iteration,
        span=span,
        legs=(),
        criterion=request.criterion,
        command=request.command,
    )
    _make(study)
    with held(study, f"another command makes restarts in {study}", run):
        earlier = read_sweep(study)
        if earlier is not None:
            check_same(earlier, empty, study)
        sweep = planned(empty, earlier, request.named, until)
        wanted = tuple(each.words for each in request.named)
        terminal.message(f"Restarting {run.name} at iteration {chosen.iteration:,}: {chosen.reason}")
        legs = [leg_of(sweep, study, words) for words in wanted]
        remarks = dict.fromkeys(remark for leg in legs for remark in check(leg, limits).remarks)
        for remark in remarks:
            terminal.message(remark)
        left = [_left(leg) for leg in legs]
        terminal.message(_estimate(run, study, until, left, workers))
        yield SweepPlan(run, info, study, sweep, wanted, ParentCurves(run, span), solver.max_iter)


def _left(leg: Leg) -> int:
    """Return the number of iterations that are left to train of a leg.

    Raises:
        BadInput: its directory holds a run of something else.
    """
    runs = stretches(leg)
    if result_of(leg, runs) is not None:
        return 0
    at = max((t for run in runs for t in run.snapshots), default=leg.start)
    return max(0, leg.until - at)


def _estimate(run: Path, study: Path, until: int, left: list[int], workers: int) -> str:
    with Recording(run) as recording:
        recent = recording.series("seconds")[-_RECENT:]
    recent = recent[np.isfinite(recent)]
    each = float(np.median(recent)) if len(recent) else 0.0
    todo = [count for count in left if count]
    seconds = (sum(todo) * each + len(todo) * _START) / max(1, min(workers, len(todo)))
    text = f"{count(len(left), 'restart')} to iteration {until:,} in {study}/"
    if len(todo) < len(left):
        text += f", {len(left) - len(todo)} of them made already"
    if not todo:
        return text
    return f"{text}: {sum(todo):,} iterations, about {duration(round(seconds))}, {workers} at a time"


def _make(study: Path) -> None:
    try:
        study.mkdir(parents=True, exist_ok=True)
        writable = os.access(study, os.W_OK | os.X_OK)
    except OSError as error:
        raise BadInput(
            f"cannot be made ({error.strerror})", field="--out", value=study, remedy="Give another --out"
        ) from None
    if not writable:
        raise BadInput("cannot be written", field="--out", value=study, remedy="Give another --out")
