"""Commands suggested to the user."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from harness.invocation import next_command

_REPOSITORY = Path(__file__).resolve().parents[2]
_BEFORE, _AFTER = 5, 40  # iterations around an onset that are worth a window
_HEADROOM = 3  # times the baseline of the gradient norm: a bound that ordinary iterations do not reach


@dataclass(frozen=True)
class Suggestion:
    """A command and its purpose. `command` is empty where there is only advice."""

    command: str
    purpose: str


@dataclass(frozen=True)
class BrokenRun:
    """What suggestions for a diverged run depend on.

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
        return f"{next_command('restart')} {shlex.quote(str(self.run))}{start}"


def from_repository(run: Path) -> Path:
    """Name a run directory relative to the repository, from which the commands are given; absolute if outside."""
    absolute = run.resolve()
    return absolute.relative_to(_REPOSITORY) if absolute.is_relative_to(_REPOSITORY) else absolute


def report_command(run: Path) -> Suggestion:
    """Suggest the report of a run."""
    command = f"{next_command('report')} {shlex.quote(str(run))}"
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
