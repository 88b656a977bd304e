"""What an investigation shows of itself while its arms are replayed: its trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from harness.quantities import duration
from harness.reports.sparkline import WIDTH, Curve, sparkline
from harness.reports.text.grammar import count, shortened

FAILED = ("died", "refused")  # judgements of arms that say nothing
_FRAME = 8  # lines of the screen that are not for trials
_LONGEST = 40  # columns that names may take where changes are shown
_SHORTEST = 12  # columns that they have on the narrowest terminal
_NUMBERS = 54  # those of all that is neither name nor change
_NARROW = 90  # columns below which curves have half of their width
_WIDE = 125  # columns from which on changes are shown as well
_STYLES = {"broken": "red", "healed": "green", "mixed": "yellow", "measured": "cyan"}


@dataclass(frozen=True)
class TrialRow:
    """A trial.

    Attributes:
        name, changes: what it tests.
        arms: that it has.
        finished: of these.
        breaks, heals: of the finished ones.
        measured: how its arms end says nothing about a break.
        curve: the losses of one arm that has some; of measured ones, the last loss of each. None where not finite.
        failed: "died" or "refused", if an arm did or was.
    """

    name: str
    changes: str
    arms: int
    finished: int
    breaks: int
    heals: int
    measured: bool
    curve: Curve
    failed: str = ""

    @property
    def outcome(self) -> str:
        """How it ended: "broken", "healed", "mixed" or "measured"; empty while it goes on."""
        if self.finished < self.arms:
            return ""
        if self.measured:
            return "measured"
        return "broken" if self.breaks == self.arms else "healed" if self.heals == self.arms else "mixed"


@dataclass(frozen=True)
class InvestigationView:
    """What an investigation shows of itself.

    Attributes:
        stage: what it does now.
        verdict: a sentence on what is found so far; empty where nothing is.
        rows: the trials, in the order in which they were wanted.
        replays, iterations, seconds: that it took so far.
        expected: the iterations that it will take, about.
        healthy, broken: the levels between which curves are drawn.
    """

    stage: str
    verdict: str
    rows: tuple[TrialRow, ...]
    replays: int
    iterations: int
    seconds: float
    expected: int
    healthy: float
    broken: float
    hint = "Ctrl-C keeps what is finished"

    def ended(self) -> dict[str, str]:
        """Return a line for each trial that has ended, by its name and the number of its arms: it may get more."""
        return {f"{row.name} {row.arms}": _line(row) for row in self.rows if row.outcome}

    def progress(self, since: float) -> str:
        """Say what was spent, `since` seconds after this was seen."""
        return (
            f"{count(self.replays, 'replay')}, {self.iterations:,} iterations of about "
            f"{max(self.expected, self.iterations):,}, {duration(round(self.seconds + since))}"
        )

    def drawn(self, width: int, height: int) -> list[RenderableType]:
        """Return what is found so far, and a table of the trials, the last ones where there is no room for all."""
        hidden = max(0, len(self.rows) - max(3, height - _FRAME))
        parts: list[RenderableType] = []
        if self.verdict:
            parts.append(Text(f"So far: {self.verdict}", overflow="ellipsis", no_wrap=True))
        if hidden:
            parts.append(Text(f"… {count(hidden, 'earlier trial')}", style="dim"))
        return [*parts, trial_table(self.rows[hidden:], self.healthy, self.broken, width)]


def trial_table(rows: Sequence[TrialRow], healthy: float, broken: float, width: int) -> Table:
    """Make a table of trials."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    wide = width >= _WIDE
    bars = WIDTH if width >= _NARROW else WIDTH // 2
    room = _LONGEST if wide else max(_SHORTEST, width - _NUMBERS + WIDTH - bars)
    longest = min(room, max((len(row.name) for row in rows), default=0))
    table.add_column("trial", no_wrap=True, overflow="ellipsis", max_width=longest)
    if wide:
        rest = width - longest - _NUMBERS
        table.add_column("change", no_wrap=True, overflow="ellipsis", max_width=rest, style="dim")
    table.add_column("runs", justify="right", no_wrap=True)
    table.add_column("break", justify="right", no_wrap=True)
    table.add_column("loss", no_wrap=True)
    for row in rows:
        style = _STYLES.get(row.outcome, "")
        name = Text(shortened(row.name, longest), style="" if row.outcome else "bold")
        runs = Text(str(row.finished) if row.outcome else f"{row.finished}/{row.arms}")
        breaks = Text("" if row.measured or not row.finished else str(row.breaks), style=style)
        curve = Text(sparkline(row.curve, healthy, broken, bars), style=style or "dim")
        end = row.curve[-1] if row.curve else None
        curve.append(f" {_loss(end)}" if row.curve else "", style="dim")
        curve.append(f" {row.failed}" if row.failed else "", style="yellow")
        table.add_row(name, *([Text(row.changes)] if wide else []), runs, breaks, curve)
    return table


def _loss(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _line(row: TrialRow) -> str:
    """Say how a trial has ended, in a line."""
    if row.measured:
        return f"{row.name}: {row.finished} done"
    end = f", loss {_loss(row.curve[-1])}" if row.curve else ""
    other = row.arms - row.breaks - row.heals
    unclear = f", {other} {row.failed or 'not clear'}" if other else ""
    return f"{row.name}: {row.breaks} of {row.arms} break{unclear}{end}"
