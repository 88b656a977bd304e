"""Open and diagnose recorded runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from harness.api.lineage import Lineage
from harness.api.run import Run, diagnosis_of
from harness.diagnosis.exactness import Exactness, Restarts, of_restarts, recorded_exactness
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.errors import BadInput
from harness.invocation import next_command, path_argument
from harness.recording import Recording
from harness.recording.lineage import children
from harness.recording.result_files import read_explanation
from harness.recording.run_directory import read_info
from harness.reports.suggestion import Suggestion
from harness.reports.suggestions import next_commands
from harness.reports.text.exactness import summary
from harness.schemas.explanation import EXPLAIN, Explanation
from harness.schemas.predictions import HeadPredictions
from harness.schemas.run_info import Verification
from harness.supervisor.predict_client import predictions


@dataclass(frozen=True)
class RunExactness:
    """How exactly a run continues another, and how exactly restarts repeat it.

    Attributes:
        continues: what keeps the run from repeating the training that it continues (`reasons`), and what must hold
            besides (`conditions`).
        restarts: the same for restarts of the run: `from_start` (None if it did not begin at iteration 0) and
            `from_snapshots`.
        verified: how its digests compare with those of the run that it continues; None for a new training, and while
            the run is in progress.
        sentence: all of this in words, as in the report.
    """

    continues: Exactness
    restarts: Restarts
    verified: Verification | None
    sentence: str


RunPath = str | os.PathLike[str]


def open_run(path: RunPath) -> Run:
    """Open the recording of a run: finished, in progress, or left behind by a process that was killed.

    Args:
        path: a run directory, or the `recording.h5` in it.

    Raises:
        RecordingError: there is no such file, it is not a recording, it was written by a newer version, or it is
            truncated.

    Example:
        >>> with harness.open_run("runs/demo") as run:
        ...     print(run.iterations[-1], run.series("loss")[-1], run.onset)
    """
    return Run(path)


def open_lineage(path: RunPath) -> Lineage:
    """Open a run together with those that it continues, back to the oldest that is there: one training.

    Args:
        path: the directory of the last run, or the `recording.h5` in it.

    Raises:
        RecordingError: as `open_run`, of the last run.
        BadInput: its run.json cannot be read.

    Example:
        >>> with harness.open_lineage("runs/demo-rescue/01-clip-362-continued") as line:
        ...     for part in line.interventions:
        ...         print(part.begins, part.run.name, part.change)
    """
    return Lineage(Recording(path))


def diagnose(run: Recording, *, rules: RunPath | None = None) -> Diagnosis:
    """Diagnose a run: its state, the onset of its divergence, alarms, the last good snapshot, and how the disturbance
    spread.

    Args:
        run: as `open_run` returns it; it must stay open while the diagnosis is used.
        rules: a file with limits for the alarm rules; default: those of `harness/diagnosis/thresholds.toml`, or for a
            run that ended normally, the alarms in its recording.

    Raises:
        BadInput: run.json or the file `rules` cannot be read.

    Example:
        >>> found = harness.diagnose(harness.open_run("runs/demo"))
        >>> print(found.status.kind, found.onset)
    """
    return diagnosis_of(run, Path(rules) if rules is not None else None)


def exactness(run: Recording) -> RunExactness:
    """Tell how exactly a run continues another, as its settings and digests show, and how exactly restarts repeat it.

    Raises:
        BadInput: run.json cannot be read.

    Example:
        >>> found = harness.exactness(harness.open_run("runs/demo-restart"))
        >>> print(found.verified.equal, "of", found.verified.compared, found.restarts.from_snapshots.reasons)
    """
    info, file = read_info(run.path.parent), run.path.with_name("run.json")
    return RunExactness(recorded_exactness(info), of_restarts(info, file), info.verified, summary(info, file))


def predict(run: Recording, iteration: int) -> tuple[HeadPredictions, ...]:
    """Compute the predictions of each softmax head for the batch of an iteration in a window, before and after its
    update.

    The real Caffe computes them in a process of its own, in TEST phase: without dropout, with BatchNorm's running
    averages (where these are still empty, with the statistics of the batch: `HeadPredictions.batch_statistics`).

    Raises:
        NoPredictions: the net has no softmax head, or Caffe died; the message contains what it printed.
        RecordingError: `iteration` is in no window, or its weights, updates or inputs were not captured.

    Example:
        >>> heads = harness.predict(run, 841)
        >>> print(heads[-1].name, heads[-1].before.loss.mean(), heads[-1].after.loss.mean())
    """
    return predictions(run, iteration)


def suggest(found: Run | Diagnosis) -> list[Suggestion]:
    """Suggest the next commands for a run: restarts after a break, or the continuation of an unfinished run.

    Args:
        found: the run, or its diagnosis.

    Example:
        >>> for suggestion in harness.suggest(run):
        ...     print(suggestion.command, "#", suggestion.purpose)
    """
    found = found.diagnosis if isinstance(found, Run) else found
    moment = found.onset.iteration if found.onset else None
    batch = found.batch(moment) if moment is not None else None
    return next_commands(found.recording, found.info, found, found.solver.base_lr, batch)


def explanation(run: Recording) -> Explanation:
    """Return what `explain` found about a run: why it broke, and the trials that show it.

    Raises:
        BadInput: there is no explain.json, it is damaged, or it was written by a newer version.

    Example:
        >>> found = harness.explanation(harness.open_run("runs/demo"))
        >>> print(found.verdict.kind, found.verdict.sentence)
    """
    found = read_explanation(run.path.parent)
    if found is None:
        remedy = f"Run {next_command('explain')} {path_argument(run.path.parent)}"
        raise BadInput("there is none", file=run.path.with_name(EXPLAIN), remedy=remedy)
    return found


def restarts(run: Recording) -> tuple[Path, ...]:
    """Find the restarts of a run: run directories beside it whose run.json names it, oldest first.

    Example:
        >>> [harness.diagnose(harness.open_run(path)).onset for path in harness.restarts(run)]
    """
    return children(run.path.parent)
