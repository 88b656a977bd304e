"""What checks find, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

# undecided: a comparison of two trainings, where the training does not repeat its own bits. not run: the time is over.
# skipped: it needs a GPU.
Status = Literal["passed", "measured", "failed", "undecided", "not run", "skipped"]
WELL: tuple[Status, ...] = ("passed", "measured", "skipped")
_WORST: tuple[Status, ...] = ("failed", "undecided", "not run", "skipped", "measured", "passed")


class Unexpected(Exception):
    """A program did something else than it should; the message says what, `output` is the end of what it printed."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


@dataclass(frozen=True)
class Ratio:
    """The time of a training under the harness, as a multiple of that in plain pycaffe.

    `low` and `high` enclose the true median (95 %); `milliseconds` is what an iteration takes in plain pycaffe.
    """

    what: str
    milliseconds: float
    value: float
    low: float
    high: float
    detail: str


@dataclass(frozen=True)
class Result:
    """What a check found: in words, with the end of what its programs printed if it failed."""

    status: Status
    found: str
    ratio: Ratio | None = None
    output: str = ""
    seconds: float = 0.0


def together(parts: Sequence[tuple[str, Result]]) -> Result:
    """Join the results of the same check on several nets, by their names: the worst status counts."""
    worst = min((result.status for _, result in parts), key=_WORST.index)
    words = " ".join(f"{name}: {result.found}" for name, result in parts)
    return replace(next(result for _, result in parts if result.status == worst), found=words)
