"""`Part`: what one run contributes to a lineage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.recording.reader import Recording
from harness.schemas.run_info import RunInfo


@dataclass(frozen=True)
class Part:
    """What a run contributes to a lineage: its iterations up to where the next run takes over.

    Attributes:
        recording: the whole one, which may go on beyond that.
        info: its run.json.
        begins: the iteration at which it takes over from the run before; the first one of the oldest run.
        until: the iteration at which the next run takes over; None for the last run.
        rows: the number of rows before `until`; None for the last run.
    """

    recording: Recording
    info: RunInfo
    begins: int
    until: int | None
    rows: int | None

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.recording.path.parent

    @property
    def count(self) -> int:
        """The number of its rows that are read, from the first on."""
        return self.recording.count if self.rows is None else self.rows

    @property
    def intervenes(self) -> bool:
        """The run changes something of the training that it continues."""
        if self.info.parent is not None:
            return self.info.parent.changes_something
        return self.info.verified is not None and self.info.verified.unchanged_through is not None

    @property
    def change(self) -> str:
        """What it changes of the training that it continues, in a few words; empty for a new training."""
        if self.info.parent is not None:
            return self.info.parent.summary
        if self.info.goes_on_from is None:
            return ""
        return "resumed with other settings" if self.intervenes else "resumed"
