"""Commands suggested to the user."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.diagnosis.exactness import of_restarts
from harness.diagnosis.recorded.batch import Batch
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.diagnosis.recorded.localize import PARAM_ROWS
from harness.diagnosis.robust_stats import total_norm
from harness.exit_codes import Exit
from harness.invocation import next_command, path_argument
from harness.recording import Recording
from harness.reports.suggestion import Suggestion
from harness.schemas.run_info import RunInfo

_BEFORE, _AFTER = 5, 40  # iterations around an onset that are worth a window
_RAISED = 1.5  # times: a learning rate that rose by so much before the onset
_MOST_KEYS = 16  # of records, in a command
_HEADROOM = 3  # times the baseline of the gradient norm: a bound that ordinary iterations do not reach


NEEDS_PARENT = "This run has no snapshot from before the onset. Restart the run that it continues."


@dataclass(frozen=True)
class Gradients:
    """The norm of the whole gradient: its median before the onset, and its largest value just after; inf for NaN."""

    baseline: float
    peak: float


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
        gradients: None if not known.
        raised_rate: the learning rate before and at the onset, if the schedule has raised it there.
        outliers: records of the onset's batch with values far beyond those of the others.
        batch_size: the records of that batch.
        outlier_keys: the keys of those outliers; empty where they are not known, or too many for a command.
    """

    run: Path
    first: int
    until: int
    onset: int
    last_good: int | None
    in_window: bool
    base_lr: float
    gradients: Gradients | None = None
    raised_rate: tuple[float, float] | None = None
    outliers: int = 0
    batch_size: int = 0
    outlier_keys: tuple[str, ...] = ()

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
        exactly = "exactly " if of_restarts(info).from_snapshots.exact else ""
        purpose = f"continue {exactly}from the last snapshot, iteration {found.snapshots[-1]:,}"
        return [Suggestion(f"{next_command('restart')} {path_argument(run)}", purpose)]
    onset = found.onset.iteration
    broken = BrokenRun(
        run=run,
        first=int(iterations[0]) if len(iterations) else 0,
        until=found.solver.max_iter,
        onset=onset,
        last_good=found.last_good.iteration if found.last_good else None,
        in_window=onset in found.kept.window_iterations,
        base_lr=base_lr,
        gradients=_gradients(recording, onset),
        raised_rate=_raised_rate(recording, onset),
        outliers=0 if batch is None else int(batch.outliers.sum()),
        batch_size=0 if batch is None else len(batch),
        outlier_keys=() if batch is None else _keys(batch),
    )
    if broken.needs_parent:
        command = f"{next_command('restart')} {path_argument(info.parent.run)}" if info.parent else ""
        return [Suggestion(command, NEEDS_PARENT)]
    return after_divergence(broken)


def report_command(run: Path) -> Suggestion:
    """Suggest the report of a run."""
    command = f"{next_command('report')} {path_argument(run)}"
    return Suggestion(command, "show on one page what broke, where and on which data")


def after_divergence(broken: BrokenRun) -> list[Suggestion]:
    """Suggest restarts, those first for which the run itself gives a reason.

    Without outliers in the batch of the onset, a repetition that records the onset comes first.
    """
    if broken.needs_parent:
        return []
    look = [] if broken.in_window else [_look(broken)]
    rate, clipped = [_lower_rate(broken)], _clip(broken)
    changes = [*rate, *clipped] if broken.raised_rate else [*clipped, *rate]
    return [_skip(broken), *_leave_out(broken), *changes, *look] if broken.outliers else [*look, *changes]


def _skip(broken: BrokenRun) -> Suggestion:
    held = f"{broken.outliers} of its {broken.batch_size} records hold"
    if broken.outliers == 1:
        held = f"one of its {broken.batch_size} records holds"
    return Suggestion(
        f"{broken.restart} --skip {broken.onset}:{broken.onset + 1}",
        f"without the data of iteration {broken.onset:,}: {held} values far beyond those of the others",
    )


def _keys(batch: Batch) -> tuple[str, ...]:
    keys = tuple(batch.keys[image] for image in batch.worst) if batch.keys else ()
    return keys if len(keys) <= _MOST_KEYS and not any("," in key for key in keys) else ()


def _leave_out(broken: BrokenRun) -> list[Suggestion]:
    if not broken.outlier_keys:
        return []
    those = "this record" if broken.outliers == 1 else f"these {broken.outliers} records"
    command = f"{broken.restart} --skip-records {shlex.quote(','.join(broken.outlier_keys))}"
    return [Suggestion(command, f"without {those}, in all later epochs as well")]


def _clip(broken: BrokenRun) -> list[Suggestion]:
    """Suggest a bound for the gradient, if the gradients of the onset exceed it."""
    norms = broken.gradients
    if norms is None:
        return []
    bound = float(f"{_HEADROOM * norms.baseline:.1g}")
    if not norms.peak > bound:
        return []
    reached = f"was {norms.peak:.3g}" if np.isfinite(norms.peak) else "was not finite"
    return [
        Suggestion(
            f"{broken.restart} --set clip_gradients={bound:g}",
            f"clip the gradient at about {_HEADROOM} times its baseline norm of {norms.baseline:.3g}; at the onset it "
            f"{reached}",
        )
    ]


def _lower_rate(broken: BrokenRun) -> Suggestion:
    why = f", from iteration {broken.last_good or 0:,}"
    if broken.raised_rate:
        before, at = broken.raised_rate
        why = f"; the schedule had raised the learning rate from {before:.3g} to {at:.3g}"
    return Suggestion(f"{broken.restart} --set base_lr={broken.base_lr / 10:g}", f"a tenth of base_lr{why}")


def _look(broken: BrokenRun) -> Suggestion:
    stop = min(broken.onset + _AFTER, max(broken.until, broken.onset + 1))
    window = f"{max(broken.first, broken.onset - _BEFORE)}:{stop}"
    return Suggestion(
        f"{broken.restart} --watch {window} --until {stop}",
        f"repeat from iteration {broken.last_good or 0:,}, with a window around the onset, to look at it",
    )


def _gradients(recording: Recording, onset: int) -> Gradients | None:
    row = int(np.searchsorted(recording.iterations, onset))
    norms = total_norm(recording.stat("gradient_l2", slice(max(0, row - PARAM_ROWS), row + _BEFORE)).values)
    before, after = norms[: min(row, PARAM_ROWS)], norms[min(row, PARAM_ROWS) :]
    before = before[np.isfinite(before)]
    if not len(before) or np.median(before) <= 0:
        return None
    return Gradients(float(np.median(before)), float(np.nan_to_num(after, nan=np.inf).max(initial=0.0)))


def _raised_rate(recording: Recording, onset: int) -> tuple[float, float] | None:
    """Return the learning rate before and at the onset, if it rose by half or more in the iterations before it."""
    row = int(np.searchsorted(recording.iterations, onset))
    rates = recording.series("lr")[max(0, row - PARAM_ROWS) : row + 1]
    if not len(rates) or not rates[-1] >= _RAISED * rates.min() > 0:
        return None
    return float(rates.min()), float(rates[-1])
