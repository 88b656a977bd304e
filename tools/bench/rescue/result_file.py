"""What became of a planted run that was rescued, and of the baselines, as JSON beside it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.atomic_write import write_whole
from harness.schemas.rescue import CandidateKind, Rescue

RESULT, BASELINES = "rescue_result.json", "rescue_baselines.json"


class Rescued(msgspec.Struct, frozen=True):
    """What became of a run.

    Attributes:
        code: the exit code of rescue; `error` has the end of what it printed where it printed no JSON.
        healthy: whether the whole training ends healthy, judged by its losses alone.
        level: of the loss at its end.
        seconds: of the whole command.
        untouched: nothing was trained.
        said: what it printed.
    """

    code: int
    healthy: bool
    level: float | None
    seconds: float
    untouched: bool
    said: Rescue | None = None
    error: str = ""


class Alone(msgspec.Struct, frozen=True):
    """A change that was tested at the first break as `rescue` tests it, in replays and for as long as in a restart.

    Attributes:
        iterations: that the test took.
        gets_past: training gets past the break; None where arms cannot express the change.
        good: it goes on as while it was healthy.
        derived: it is one of the candidates of `rescue`, which follow from what explain has found.
    """

    candidate: str
    iterations: int
    gets_past: bool | None
    kind: CandidateKind = "given"
    good: bool = False
    derived: bool = True


class Baselines(msgspec.Struct, frozen=True):
    """What simple ways give for the same run.

    Attributes:
        divisions: of the learning rate by ten, until the training ends healthy; None if five are not enough.
        level: of the loss at its end then; None with `divisions`.
        alone: changes that may help at the first break: the candidates of `rescue`, in their order, and others.
        explained: iterations that explain took.
    """

    divisions: int | None
    level: float | None
    alone: tuple[Alone, ...]
    explained: int = 0


def read_rescued(home: Path) -> Rescued | None:
    """Read what became of the fault in `home`; None if it was not rescued yet."""
    path = home / RESULT
    return msgspec.json.decode(path.read_bytes(), type=Rescued) if path.exists() else None


def read_baselines(home: Path) -> Baselines | None:
    """Read the baselines of the fault in `home`; None if there are none yet."""
    path = home / BASELINES
    return msgspec.json.decode(path.read_bytes(), type=Baselines) if path.exists() else None


def write_result(path: Path, result: Rescued | Baselines) -> None:
    write_whole(path, msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
