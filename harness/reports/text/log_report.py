"""Print the diagnosis of a log on a terminal: a table of its runs, their heads, and the findings in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from harness.diagnosis.conditions import Verdict
from harness.diagnosis.logged.findings import HeadFinding, RunFindings, Source
from harness.diagnosis.logged.tracks import TOTAL
from harness.reports.console import Console
from harness.reports.log_result import LogResult

_STYLES: dict[Verdict, str] = {
    "healthy": "green",
    "uniform-softmax": "bold red",
    "saturated-softmax": "bold red",
    "nan": "bold red",
    "drift/oscillation": "bold yellow",
    "unknown": "default",
}

_SOURCES: dict[Source, str] = {"net": "net", "given": "--classes", "inferred": "by the losses"}

_FOLDED = 16  # characters of a folded column
_WIDE = 80  # characters of a terminal with more space between columns


@dataclass(frozen=True)
class _Column:
    """A column of a table.

    Attributes:
        rank: on a narrow terminal, columns are left out in the order of their ranks; those with rank 0 always stay.
        folds: it may be folded.
    """

    title: str
    cells: tuple[str | Text, ...]
    rank: int = 0
    right: bool = False
    folds: bool = False

    @property
    def width(self) -> int:
        """The width that it needs, in characters."""
        width = max(cell_len(str(cell)) for cell in (self.title, *self.cells))
        return min(width, _FOLDED) if self.folds else width


def show(runs: Sequence[LogResult], console: Console) -> None:
    """Print a table of the runs, and the findings on each."""
    several = len({run.name for run in runs}) > 1
    found = [run.findings for run in runs]
    strengths = tuple(f.strength or "–" for f in found)
    columns = [
        *([_Column("log", tuple(run.name for run in runs), folds=True)] if several else []),
        _Column("run", tuple(str(run.number) for run in runs), rank=3 * (len(runs) == 1)),
        _Column(
            "iterations", tuple("–" if r.extent is None else "{:,} … {:,}".format(*r.extent) for r in runs), rank=5
        ),
        _Column("displays", tuple(f"{f.coverage.displays:,}" for f in found), rank=1, right=True),
        _Column("verdict", tuple(Text(f.verdict, style=_STYLES[f.verdict]) for f in found)),
        *([_Column("strength", strengths, rank=1)] if any(f.strength for f in found) else []),
        _Column("jump", tuple("–" if f.jump is None else f"{f.jump.iteration:,}" for f in found), rank=4, right=True),
        _Column("final loss", tuple(_plain(f.trend.end) for f in found), rank=2, right=True),
    ]
    console.print(_table(columns, console, header=True), soft_wrap=not console.is_terminal)
    for run in runs:
        console.print()
        if len(runs) > 1:
            console.print(Text(f"{run.name}, run {run.number}" if several else f"run {run.number}", style="bold"))
        if any(head.name != TOTAL for head in run.findings.heads):
            console.print(_heads(run.findings, console), soft_wrap=not console.is_terminal)
            console.print()
        for sentence in run.sentences:
            console.print(Text(sentence), soft_wrap=not console.is_terminal)
        for suggestion in run.suggestions:
            console.print(Text(f"{suggestion.purpose}:"), soft_wrap=not console.is_terminal)
            console.print(Text(f"  {suggestion.command}", style="cyan"), soft_wrap=True)


def _table(columns: Sequence[_Column], console: Console, *, header: bool) -> Table:
    """Lay out the columns that fit; if the rest is too wide, fold the columns that may be folded."""
    space = 3 if console.width >= _WIDE else 2
    kept = list(columns)
    while sum(c.width + space for c in kept) - space > console.width and any(c.rank for c in kept):
        kept.remove(min((c for c in kept if c.rank), key=lambda c: c.rank))
    table = Table(box=None, pad_edge=False, padding=(0, space, 0, 0), header_style="dim", show_header=header)
    for column in kept:
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(column.title, justify=justify, no_wrap=not column.folds, overflow="fold")
    for row in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*row)
    return table


def _heads(found: RunFindings, console: Console) -> Table:
    heads = found.heads
    classes = [_classes(head) for head in heads]
    columns = [
        _Column("", ("",) * len(heads), rank=1),
        _Column("", tuple(head.name for head in heads), folds=True),
        _Column("", tuple(f"weight {head.weight:g}" for head in heads), rank=3),
        _Column("", tuple(_plain(head.loss) for head in heads), right=True),
        _Column("", tuple(Text(head.state) for head in heads)),
        _Column("", tuple(Text(text, style="dim") for text in classes), rank=2),
    ]
    return _table(columns, console, header=False)


def _classes(head: HeadFinding) -> str:
    """Return the number of classes of a head, and where it comes from."""
    if not head.classes:
        return ""
    return f"{'about ' if head.approximate else ''}{head.classes} classes ({_SOURCES[head.source or 'net']})"


def one_line(run: LogResult) -> str:
    """Summarise a run in progress in one line."""
    found = run.findings
    jump = f", jump at {found.jump.iteration:,}" if found.jump is not None else ""
    at = "started" if run.extent is None else f"iteration {found.coverage.last:,}"
    return f"run {run.number}, {at}: {_graded(found)}{jump}, loss {_plain(found.trend.end)}"


def _graded(found: RunFindings) -> str:
    """Return the verdict, with its strength where that is not clear."""
    return found.verdict if found.strength in (None, "clear") else f"{found.verdict} ({found.strength})"


def _plain(value: float) -> str:
    """Format a loss; `-` if there is none, or if it is NaN."""
    return "-" if math.isnan(value) else f"{value:.6g}"
