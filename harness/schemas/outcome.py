"""How a run begins and ends, as told to whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from harness.schemas.layout import Layout
from harness.schemas.window import Window


class Exit(IntEnum):
    """Exit codes of the commands."""

    DONE = 0
    RECORDING_FAILED = 1
    BAD_INPUT = 2
    DIVERGED = 3
    SOLVER_DIED = 4
    INTERRUPTED = 130


@dataclass(frozen=True)
class Opening:
    """A run whose nets are built and which is about to train."""

    directory: Path
    title: str
    first: int
    until: int
    layout: Layout
    base_lr: float
    window_bytes: int  # what the windows will take
    row_bytes: int  # what everything recorded at every iteration will take

    @property
    def windows(self) -> tuple[Window, ...]:
        return self.layout.windows


@dataclass(frozen=True)
class Divergence:
    """What a run that diverged has to say: its onset (as in run.json: iteration, reason, blob, param), and the newest
    snapshot from before it (None: there is none)."""

    onset: dict[str, Any]
    last_good: int | None


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the exit code, one sentence, and what Caffe itself said when it died.

    `divergence` is None for a run that was healthy, or is again.
    """

    code: Exit
    sentence: str
    last_words: tuple[str, ...] = ()
    divergence: Divergence | None = None
