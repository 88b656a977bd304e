"""Commands suggested to the user."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from harness.diagnosis.exactness import of_restarts
from harness.diagnosis.recorded.around_onset import gradient_norms, raised_rate
from harness.diagnosis.recorded.batch import Batch
from harness.diagnosis.recorded.damage_span import span
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.exit_codes import Exit
from harness.invocation import next_command, path_argument
from harness.recording import Recording
from harness.reports.suggestion import Suggestion
from harness.schemas.explanation import EXPLAIN
from harness.schemas.onset import GradientNorms
from harness.schemas.outcome import OutlyingRecords
from harness.schemas.rewind import NoRewind, Rewind
from harness.schemas.run_info import RunInfo

_BEFORE, _AFTER = 5, 40  # iterations around an onset that are worth a window
_MOST_KEYS = 16  # of records, in a command
_HEADROOM = 3  # times the baseline of the gradient norm: a bound that ordinary iterations do not reach
_NEEDS_PARENT = "this run has no snapshot from before the onset; restart the run that it continues"


@dataclass(frozen=True)
class BrokenRun:
    """The properties of a diverged run that suggestions depend on.

    Attributes:
        run: the run directory.
        first: the first iteration recorded.
        until: the iteration before which a restart ends by itself.
        onset: the first iteration whose update does the damage.
        last_good: the iteration of the newest snapshot from before the onset; None if there is none.
        in_window: a window holds the onset.
        base_lr: the solver's.
        parent: the directory of the run that this one continues, if it is known.
        gradients: None if not known.
        raised_rate: the learning rate before and at the onset, if the schedule has raised it there.
        outlying: those of the onset's batch; None where its records are not known.
        unusual_input: a blob of a data layer that left its usual range at the onset, if data can be skipped.
        rewind: how to record the iterations around the onset after the run; None while it goes on.
    """

    run: Path
    first: int
    until: int
    onset: int
    last_good: int | None
    in_window: bool
    base_lr: float
    parent: str | None = None
    gradients: GradientNorms | None = None
    raised_rate: tuple[float, float] | None = None
    unusual_input: str | None = None
    outlying: OutlyingRecords | None = None
    rewind: Rewind | NoRewind | None = None

    @property
    def needs_parent(self) -> bool:
        """True if only the run that this one continues can have a snapshot from before the onset."""
        return self.last_good is None and self.first > 0

    @property
    def restart(self) -> str:
        """The restart command without any change."""
        start = "" if self.last_good is not None else " --from 0"
        return f"{next_command('restart')} {path_argument(self.run)}{start}"


def next_commands(
    recording: Recording, info: RunInfo, found: Diagnosis, base_lr: float, batch: Batch | None
) -> list[Suggestion]:
    """Suggest the next commands for a run: restarts after a break, or the continuation of a run that did not finish.

    Args:
        base_lr: the solver's.
        batch: the batch of the onset, as far as it was recorded.
    """
    run, iterations = recording.path.parent, recording.iterations
    if found.onset is None:
        finished = info.ended is not None and info.ended.code == Exit.DONE
        if recording.live or finished or not found.snapshots:
            return []
        exactly = "exactly " if of_restarts(info, run / "run.json").from_snapshots.exact else ""
        purpose = f"continue {exactly}from the last snapshot, iteration {found.snapshots[-1]:,}"
        return [Suggestion(f"{next_command('restart')} {path_argument(run)}", purpose)]
    onset, inputs = found.onset.iteration, {blob.name for blob in recording.inputs}
    in_window = "weight" in found.kept.window_arrays(onset)
    broken = BrokenRun(
        run=run,
        first=int(iterations[0]) if len(iterations) else 0,
        until=found.solver.max_iter,
        onset=onset,
        last_good=found.last_good.iteration if found.last_good else None,
        in_window=in_window,
        base_lr=base_lr,
        parent=info.goes_on_from,
        gradients=gradient_norms(iterations, found.total_norm("gradient_l2"), onset),
        raised_rate=raised_rate(iterations, recording.series("lr"), onset),
        unusual_input=found.onset.blob if found.onset.blob in inputs and info.point.of_train_net else None,
        outlying=None if batch is None else outlying_records(batch),
        rewind=None if in_window else rewind_of_onset(recording, found),
    )
    asked = recording.live or (run / EXPLAIN).is_file()
    return [*after_divergence(broken), *([] if asked else [explain_command(run), rescue_command(run)])]


def rewind_of_onset(recording: Recording, found: Diagnosis) -> Rewind | NoRewind | None:
    """Tell how to record the iterations around the onset of a run after it; None without one, and while it goes on."""
    window = span(recording, found)
    return None if window is None or recording.live else recording.rewind_cost(window)


def report_command(run: Path) -> Suggestion:
    """Suggest the report of a run."""
    command = f"{next_command('report')} {path_argument(run)}"
    return Suggestion(command, "show on one page what broke, where and on which data")


def explain_command(run: Path) -> Suggestion:
    """Suggest to explain a run."""
    command = f"{next_command('explain')} {path_argument(run)}"
    return Suggestion(command, "find out why: replays it from before the onset with one thing changed at a time")


def rescue_command(run: Path) -> Suggestion:
    """Suggest to rescue a run."""
    command = f"{next_command('rescue')} {path_argument(run)}"
    return Suggestion(command, "get it to its end: continues with the smallest change that gets past the break")


def after_divergence(broken: BrokenRun) -> list[Suggestion]:
    """Suggest restarts, those first for which the run itself gives a reason.

    Without outliers in the batch of the onset, what records the iterations around the onset comes first.
    """
    if broken.needs_parent:
        command = f"{next_command('restart')} {path_argument(broken.parent)}" if broken.parent is not None else ""
        return [*_rewind(broken), Suggestion(command, _NEEDS_PARENT)]
    look = [] if broken.in_window else _rewind(broken) or [_look(broken)]
    rate, clipped = [_lower_rate(broken)], _clip(broken)
    changes = [*rate, *clipped] if broken.raised_rate else [*clipped, *rate]
    if broken.outlying is not None and broken.outlying.not_finite:
        return [*_skip(broken), *look]  # no bound and no rate makes a NaN harmless
    has_outliers = broken.outlying is not None and broken.outlying.count > 0
    if has_outliers or broken.unusual_input is not None:
        return [*_skip(broken), *changes, *look]
    return [*look, *changes]


def outlying_records(batch: Batch) -> OutlyingRecords:
    """Count the outliers of a batch, and name them where they fit into a command."""
    keys = tuple(batch.keys[image] for image in batch.worst) if batch.keys else ()
    named = len(keys) <= _MOST_KEYS and not any("," in key for key in keys)
    not_finite = int((~batch.is_finite).sum())
    return OutlyingRecords(int(batch.outliers.sum()), len(batch), keys if named else (), not_finite)


def _skip(broken: BrokenRun) -> list[Suggestion]:
    found = broken.outlying or OutlyingRecords(0, 0)
    if not found.count:
        why = f"its {broken.unusual_input} left the range of the iterations before"
    else:
        some = "one" if found.count == 1 else str(found.count)
        hold = "holds values" if found.count == 1 else "hold values"
        what = "that are NaN or infinite" if found.not_finite == found.count else "far beyond those of the others"
        why = f"{some} of its {found.batch_size} records {hold} {what}"
    skip = f"{broken.restart} --skip {broken.onset}:{broken.onset + 1}"
    once = Suggestion(skip, f"without the data of iteration {broken.onset:,}: {why}")
    if not found.keys:
        return [once]
    those = "this record" if found.count == 1 else f"these {found.count} records"
    command = f"{broken.restart} --skip-records {shlex.quote(','.join(found.keys))}"
    return [once, Suggestion(command, f"without {those}, here and in all later epochs")]


def _clip(broken: BrokenRun) -> list[Suggestion]:
    """Suggest a bound for the gradient, if the gradients of the onset exceed it."""
    norms = broken.gradients
    if norms is None:
        return []
    bound = float(f"{_HEADROOM * norms.baseline:.1g}")
    if not norms.peak > bound:
        return []
    return [
        Suggestion(
            f"{broken.restart} --set clip_gradients={bound:g}",
            f"clip the gradient at about {_HEADROOM} times its baseline norm of {norms.baseline:.3g}; near the onset "
            f"it reached {norms.peak:.3g}",
        )
    ]


def _lower_rate(broken: BrokenRun) -> Suggestion:
    why = f", from iteration {broken.last_good or 0:,}"
    if broken.raised_rate:
        before, at = broken.raised_rate
        why = f"; the schedule had raised the learning rate from {before:.3g} to {at:.3g}"
    return Suggestion(f"{broken.restart} --set base_lr={broken.base_lr / 10:g}", f"a tenth of base_lr{why}")


def _rewind(broken: BrokenRun) -> list[Suggestion]:
    """Suggest to record the iterations around the onset, if that is possible."""
    found = broken.rewind
    if not isinstance(found, Rewind):
        return []
    purpose = (
        f"record iterations {found.window} around the onset in full, to look at them: repeats {found.work}, "
        f"bit for bit ({found.cost})"
    )
    return [Suggestion(found.command, purpose)]


def _look(broken: BrokenRun) -> Suggestion:
    stop = min(broken.onset + _AFTER, max(broken.until, broken.onset + 1))
    window = f"{max(broken.first, broken.onset - _BEFORE, broken.last_good or 0)}:{stop}"
    why = f" (rewind cannot: {broken.rewind.reason})" if isinstance(broken.rewind, NoRewind) else ""
    return Suggestion(
        f"{broken.restart} --watch {window} --until {stop}",
        f"repeat from iteration {broken.last_good or 0:,}, with a window around the onset, to look at it{why}",
    )
