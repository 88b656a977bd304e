"""The runs of a directory, each in a row of a table, for an index page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.diagnosis.ranking import Result, result_of
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.diagnosis.recorded.thinning import extremes
from harness.reports.html import messages
from harness.reports.names import change_name
from harness.schemas.run_info import Parent

_WIDTH, _HEIGHT = 160, 40  # of a thumbnail, in pixels
_POINTS = 320  # of its curve, at most


@dataclass(frozen=True)
class Row:
    """A run of the directory.

    Attributes:
        name: of its directory.
        report: the address of its report, relative to the index; None if there is none yet.
        parent: the run that it was restarted from, and the changes; None for a new training.
        started: when, in ISO 8601.
        verdict: a few words.
        mood: the colour of the verdict: `good`, `bad` or `open`.
        result: what it had reached; None if it cannot be read.
        tests: the last test pass.
        curve: points of its smoothed loss in a picture of 160 × 40 pixels, for an SVG polyline.
    """

    name: str
    report: str | None
    parent: Parent | None
    started: str
    verdict: str
    mood: str
    result: Result | None = None
    tests: str = ""
    curve: str = ""

    @property
    def change(self) -> str:
        """What a restart changed, and where it began; empty for a new training."""
        if self.parent is None:
            return ""
        return f"{change_name(self.parent)}, from iteration {self.parent.iteration:,} of {self.origin}"

    @property
    def origin(self) -> str:
        """The name of the run that this one continues; empty for a new training."""
        return "" if self.parent is None else self.parent.run.rstrip("/").rsplit("/", 1)[-1]


def row_of(name: str, report: str | None, found: Diagnosis) -> Row:
    """Describe a run in a row."""
    result = result_of(found)
    return Row(
        name=name,
        report=report,
        parent=found.info.parent,
        started=found.info.started,
        verdict=_verdict(found),
        mood=messages.mood(found.status.kind),
        result=result,
        tests=messages.tests(result),
        curve=_curve(found.recording.series("smoothed_loss")),
    )


def unreadable(name: str, reason: str) -> Row:
    """Describe a run that cannot be read."""
    return Row(name=name, report=None, parent=None, started="", verdict=reason, mood="open")


def in_order(rows: Sequence[Row]) -> list[tuple[int, Row]]:
    """Sort runs by their start, restarts below the run that they continue, each with its depth (0: a new training)."""
    names = {row.name for row in rows}
    children: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.started, row.name)):
        above = row.origin if row.origin in names and row.origin != row.name else ""
        children.setdefault(above, []).append(row)
    found = list(_below("", 0, children))
    listed = {row.name for _, row in found}
    return found + [(0, row) for row in rows if row.name not in listed]  # those that descend from themselves


def _below(name: str, depth: int, children: Mapping[str, Sequence[Row]]) -> list[tuple[int, Row]]:
    return [
        entry
        for row in children.get(name, ())
        for entry in ((depth, row), *(_below(row.name, depth + 1, children) if row.name else ()))
    ]


def _verdict(found: Diagnosis) -> str:
    if found.onset is not None:
        return f"broke at iteration {found.onset.iteration:,}"
    words = {"nothing": "nothing recorded", "healthy": "healthy", "never learned": "never learned"}
    ended = ", in progress" if found.info.ended is None and found.recording.live else ""
    return words.get(found.status.kind, found.status.kind) + ended


def _curve(losses: npt.NDArray[np.float64]) -> str:
    """Return the points of a curve; values that are not finite are left out."""
    rows = extremes(losses, _POINTS)
    rows = rows[np.isfinite(losses[rows])]
    if len(rows) < 2:
        return ""
    values = losses[rows]
    low, high = float(values.min()), float(np.quantile(values, 0.99))
    across = _WIDTH * rows / max(1, len(losses) - 1)
    down = _HEIGHT * (1 - np.clip((values - low) / max(high - low, 1e-12), 0, 1))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
