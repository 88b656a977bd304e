"""Commands suggested to the user once the cause of a break is known."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from harness.caffe_files.messages import parse_text, pb
from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.course import iterations_needed
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.diagnosis.rescue.candidates import candidates_of
from harness.diagnosis.robust_stats import total_norm
from harness.invocation import next_command, path_argument
from harness.reports.suggestion import Suggestion
from harness.reports.suggestions import rescue_command
from harness.schemas.explanation import Explanation, Kind, Levels
from harness.schemas.rescue import Candidate, CandidateKind

_MOST_KEYS = 16  # of records, in a command
_BEFORE = 500  # iterations before the break, which tell what is ordinary
_FOR: dict[Kind, tuple[CandidateKind, ...]] = {  # what is suggested for a cause, the most special first
    "record": ("records", "batches", "clip"),
    "data-shift": ("batches", "clip"),
    "learning-rate": ("rate", "clip"),
    "lr-schedule": ("rate", "clip"),
    "layer-lr": ("layer-rate", "clip"),
    "momentum": ("momentum",),
    "weight-decay": ("decay",),
    "machine": ("unchanged",),
}


def remedies(diagnosis: Diagnosis, found: Explanation) -> list[Suggestion]:
    """Suggest the restarts of a run that its replays have shown to survive, and to rescue it."""
    iterations, wanted = diagnosis.recording.iterations, _FOR.get(found.verdict.kind, ())
    if not wanted or not len(iterations):
        return []
    onset = diagnosis.onset.iteration if diagnosis.onset is not None else int(iterations[-1])
    acts = found.verdict.iteration if found.verdict.iteration is not None else onset
    origin = _origin(diagnosis, acts)
    if origin is None:
        return []
    run, start = origin
    restart = f"{next_command('restart')} {path_argument(run)} --from {start}"
    candidates = candidates_of(_case(diagnosis, found, max(onset, acts), start), found)
    shown = [candidate for candidate in candidates if candidate.kind in wanted and _is_short(candidate, found)]
    shown.sort(key=lambda candidate: wanted.index(candidate.kind))
    return [
        *(_suggestion(restart, candidate) for candidate in _once(shown)),
        rescue_command(diagnosis.recording.path.parent),
    ]


def _once(candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    """Yield the first of several that skip batches: the others skip more, and rescue tries them."""
    batches = next((candidate for candidate in candidates if candidate.kind == "batches"), None)
    return (candidate for candidate in candidates if candidate.kind != "batches" or candidate is batches)


def _suggestion(restart: str, candidate: Candidate) -> Suggestion:
    words = map(shlex.quote, candidate.steps[0].words)
    return Suggestion(" ".join([restart, *words]), f"{candidate.name}: {candidate.why}")


def _is_short(candidate: Candidate, found: Explanation) -> bool:
    """Check whether a candidate fits into a command."""
    return candidate.kind != "records" or len(found.verdict.records) <= _MOST_KEYS


def _case(diagnosis: Diagnosis, found: Explanation, at: int, start: int) -> Case:
    """Read the facts of the break on which commands depend; no arms are made from it."""
    recording = diagnosis.recording
    row = min(int(recording.iterations.searchsorted(at)), len(recording.iterations) - 1)
    rows, later = slice(max(0, row - _BEFORE), row + 1), slice(row, row + _BEFORE)
    levels = found.levels or Levels(0.0, None, 0.0)
    return Case(
        at=at,
        first=start,
        kept=start,
        start=start,
        after=iterations_needed(np.asarray(recording.series("loss", later), np.float64), levels),
        levels=levels,
        solver=diagnosis.solver,
        net=parse_text(diagnosis.info.net, pb.NetParameter, Path("run.json")),
        params=recording.params,
        iterations=recording.iterations[rows],
        loss=np.asarray(recording.series("loss", rows), np.float64),
        rate=np.asarray(recording.series("lr", rows), np.float64),
        gradient_l2=total_norm(recording.stat("gradient_l2", rows).values),
        seconds=0.0,
        began=diagnosis.info.first,
    )


def _origin(diagnosis: Diagnosis, at: int) -> tuple[Path, int] | None:
    """Return the run directory and the iteration from which training can go on before `at`; None if there is none."""
    snapshots, info = [snapshot for snapshot in diagnosis.snapshots if snapshot <= at], diagnosis.info
    if snapshots or info.first == 0:
        return diagnosis.recording.path.parent, max(snapshots, default=0)
    return None if info.goes_on_from is None else (Path(info.goes_on_from), info.first)


def rest_of_explanation(run: Path, found: Explanation) -> list[Suggestion]:
    """Suggest to go on with an investigation that the budget or an interruption has ended."""
    if found.complete:
        return []
    command = f"{next_command('explain')} {path_argument(run)}"
    return [Suggestion(command, "go on with what was left out: nothing that is finished is replayed again")]


def report_of_cause(run: Path) -> Suggestion:
    """Suggest the report of a run that is explained."""
    return Suggestion(f"{next_command('report')} {path_argument(run)}", "show on one page why it broke")
