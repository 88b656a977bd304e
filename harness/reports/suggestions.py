"""What to type next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import harness

_BEFORE, _AFTER = 5, 40  # iterations around an onset that are worth keeping whole
_ROOM = 3  # times the usual length of the gradient: a bound that an ordinary step never meets


@dataclass(frozen=True)
class Step:
    """A command, and what it is for."""

    command: str
    purpose: str


@dataclass(frozen=True)
class Broken:
    """A run that diverged: its directory and first iteration, the onset, the newest snapshot from before it (None:
    there is none), whether a window kept the onset, and the solver's base_lr. Where they are known: the usual length of
    the whole gradient, and whether the onset's batch has wild values.
    """

    run: Path
    first: int
    onset: int
    last_good: int | None
    kept: bool
    base_lr: float
    usual_gradient: float | None = None
    wild: bool = False

    @property
    def stranded(self) -> bool:
        """Is there no way back within this run?"""
        return self.last_good is None and self.first > 0

    @property
    def restart(self) -> str:
        """The restart command without its changes."""
        start = "" if self.last_good is not None else " --from 0"
        return f"python harness/restart.py {shlex.quote(str(self.run))}{start}"


def seen_from_the_top(run: Path) -> Path:
    """A run directory as commands name it that are typed at the top of the repository."""
    top, whole = Path(harness.__file__).resolve().parents[1], run.resolve()
    return whole.relative_to(top) if whole.is_relative_to(top) else whole


def page_of(run: Path) -> Step:
    """The way to the report."""
    return Step(f"python harness/report.py {shlex.quote(str(run))}", "what broke, where and on which data, on one page")


def after_divergence(broken: Broken) -> list[Step]:
    """The ways back: to see it again in full, with a smaller rate, with bounded gradients, without the batch."""
    if broken.stranded:
        return []
    back = f"from iteration {broken.last_good or 0:,}"
    steps = []
    if not broken.kept:
        window = f"{max(broken.first, broken.onset - _BEFORE)}:{broken.onset + _AFTER}"
        steps.append(Step(f"{broken.restart} --watch {window}", f"repeat it {back}, and keep all of it"))
    steps.append(Step(f"{broken.restart} --set base_lr={broken.base_lr / 10:g}", f"try a tenth, {back}"))
    if broken.usual_gradient is not None:
        bound = float(f"{_ROOM * broken.usual_gradient:.1g}")
        room = f"bound the gradient at {_ROOM} times its usual length, {broken.usual_gradient:.3g}"
        steps.append(Step(f"{broken.restart} --set clip_gradients={bound:g}", room))
    if broken.wild:
        skip = f"{broken.restart} --skip {broken.onset}:{broken.onset + 1}"
        steps.append(Step(skip, "without the data of that iteration"))
    return steps
