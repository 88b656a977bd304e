"""Commands suggested to the user."""

from __future__ import annotations

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
from harness.schemas.run_info import RunInfo

_REPOSITORY = Path(__file__).resolve().parents[2]
_BEFORE, _AFTER = 5, 40  # iterations around an onset that are worth a window
_HEADROOM = 3  # times the baseline of the gradient norm: a bound that ordinary iterations do not reach


@dataclass(frozen=True)
class Suggestion:
    """A command and its purpose. `command` is empty where there is only advice."""

    command: str
    purpose: str


NEEDS_PARENT = "This run has no snapshot from before the onset. Restart the run that it continues."


@dataclass(frozen=True)
class BrokenRun:
    """The properties of a diverged run that suggestions depend on.

    Attributes:
        run: the run directory.
        first: the first iteration recorded.
        onset: the first iteration whose update does the damage.
        last_good: the iteration of the newest snapshot from before the onset; None if there is none.
        in_window: a window holds the onset.
        base_lr: the solver's.
        gradient_baseline: the median norm of the whole gradient before the onset; None if not known.
        has_outliers: the batch of the onset has images with values far beyond those of the others.
    """

    run: Path
    first: int
    onset: int
    last_good: int | None
    in_window: bool
    base_lr: float
    gradient_baseline: float | None = None
    has_outliers: bool = False

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
    run, iterations = from_repository(recording.path.parent), recording.iterations
    if found.onset is None:
        finished = info.ended is not None and info.ended.code == Exit.DONE
        if recording.live or finished or not found.snapshots:
            return []
        exactly = "exactly " if of_restarts(info).from_snapshots.exact else ""
        purpose = f"continue {exactly}from the last snapshot, iteration {found.snapshots[-1]:,}"
        return [Suggestion(f"{next_command('restart')} {path_argument(run)}", purpose)]
    broken = BrokenRun(
        run=run,
        first=int(iterations[0]) if len(iterations) else 0,
        onset=found.onset.iteration,
        last_good=found.last_good.iteration if found.last_good else None,
        in_window=found.onset.iteration in recording.window_iterations,
        base_lr=base_lr,
        gradient_baseline=_gradient_baseline(recording, found.onset.iteration),
        has_outliers=batch is not None and bool(batch.outliers.any()),
    )
    if broken.needs_parent:
        command = f"{next_command('restart')} {path_argument(info.parent.run)}" if info.parent else ""
        return [Suggestion(command, NEEDS_PARENT)]
    return after_divergence(broken)


def from_repository(run: Path) -> Path:
    """Name a run directory relative to the repository, from which the commands are given; absolute if outside."""
    absolute = run.resolve()
    return absolute.relative_to(_REPOSITORY) if absolute.is_relative_to(_REPOSITORY) else absolute


def report_command(run: Path) -> Suggestion:
    """Suggest the report of a run."""
    command = f"{next_command('report')} {path_argument(run)}"
    return Suggestion(command, "show on one page what broke, where and on which data")


def after_divergence(broken: BrokenRun) -> list[Suggestion]:
    """Suggest restarts: with a window, with a lower rate, with clipped gradients, without the batch."""
    if broken.needs_parent:
        return []
    back = f"from iteration {broken.last_good or 0:,}"
    found = []
    if not broken.in_window:
        window = f"{max(broken.first, broken.onset - _BEFORE)}:{broken.onset + _AFTER}"
        found.append(Suggestion(f"{broken.restart} --watch {window}", f"repeat {back}, with a window around the onset"))
    found.append(Suggestion(f"{broken.restart} --set base_lr={broken.base_lr / 10:g}", f"a tenth of base_lr, {back}"))
    if broken.gradient_baseline is not None:
        bound = float(f"{_HEADROOM * broken.gradient_baseline:.1g}")
        purpose = f"clip the gradient at about {_HEADROOM} times its baseline norm of {broken.gradient_baseline:.3g}"
        found.append(Suggestion(f"{broken.restart} --set clip_gradients={bound:g}", purpose))
    if broken.has_outliers:
        skip = f"{broken.restart} --skip {broken.onset}:{broken.onset + 1}"
        found.append(Suggestion(skip, "without the data of the onset"))
    return found


def _gradient_baseline(recording: Recording, onset: int) -> float | None:
    """Compute the median norm of the whole gradient before the onset."""
    row = int(np.searchsorted(recording.iterations, onset))
    norms = total_norm(recording.stat("gradient_l2", slice(max(0, row - PARAM_ROWS), row)).values)
    norms = norms[np.isfinite(norms)]
    return float(np.median(norms)) if len(norms) and np.median(norms) > 0 else None
