"""The start and the end of a run, as listeners receive them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.exit_codes import Exit
from harness.schemas.layout import Layout
from harness.schemas.onset import GradientNorms, Onset
from harness.schemas.rewind import NoRewind, Rewind
from harness.schemas.window import Window


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
    seekable: bool = True  # the position in the training data is known, so that data can be skipped
    parent: str | None = None  # the directory of the run that this one continues

    @property
    def windows(self) -> tuple[Window, ...]:
        return self.layout.windows


@dataclass(frozen=True)
class OutlyingRecords:
    """The records of a batch whose values reach far beyond those of the others.

    Attributes:
        count: their number; 0 where there are none.
        batch_size: that of all records of the batch.
        keys: theirs; empty where they are not known, or too many for a command.
        not_finite: the number of those with NaN or infinite values.
    """

    count: int
    batch_size: int
    keys: tuple[str, ...] = ()
    not_finite: int = 0


@dataclass(frozen=True)
class Divergence:
    """The onset of a run that diverged, and the iteration of the last good snapshot (None: there is none).

    Attributes:
        gradients: around the onset; None if not known.
        raised_rate: the learning rate before and at the onset, if the schedule has raised it there.
        outlying: those of the onset's batch; None where its records are not known, or the run goes on.
        stops: the run stops because of it.
        is_kept: the black box has kept the weights of the onset, as far as the run has ended.
        rewind: how to record the iterations around the onset after the run; None while it goes on, and where a window
            has them.
    """

    onset: Onset
    last_good: int | None
    gradients: GradientNorms | None = None
    raised_rate: tuple[float, float] | None = None
    outlying: OutlyingRecords | None = None
    stops: bool = False
    is_kept: bool = False
    rewind: Rewind | NoRewind | None = None


@dataclass(frozen=True)
class Outcome:
    """The end of a run: the exit code, one sentence, and what Caffe itself printed when it died.

    `divergence` is None for a run that is healthy, or is again. `death` is the sentence about a worker that died,
    without what it says of the recording, which may be one that is removed.
    """

    code: Exit
    sentence: str
    last_words: tuple[str, ...] = ()
    divergence: Divergence | None = None
    death: str | None = None
