"""Draw an investigation on standard error: a live table of its trials on a terminal, a line for each elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from harness.quantities import duration
from harness.reports.console import Console
from harness.reports.replay_screen import ReplayScreen
from harness.reports.text.grammar import count
from harness.reports.view_terminal import ViewTerminal

FAILED = ("died", "refused")  # judgements of arms that say nothing
_BARS = "▁▂▃▄▅▆▇█"
_NOT_FINITE = "×"
_WIDTH = 24  # characters of a curve
_PLAIN_EVERY = 10.0  # seconds between plain lines while nothing ends
_FRAME = 8  # lines of the screen that are not for trials
_LONGEST = 40  # columns that names may take where changes are shown
_SHORTEST = 12  # columns that they have on the narrowest terminal
_NUMBERS = 54  # those of all that is neither name nor change
_WIDE = 125  # columns from which on changes are shown as well
_STYLES = {"broken": "red", "healed": "green", "mixed": "yellow", "measured": "cyan"}


@dataclass(frozen=True)
class Row:
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
    curve: tuple[float | None, ...]
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
class View:
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
    rows: tuple[Row, ...]
    replays: int
    iterations: int
    seconds: float
    expected: int
    healthy: float
    broken: float


class InvestigationTerminal(ViewTerminal):
    """Shows an investigation, and the replay that goes to its start. Create it before any thread."""

    def __init__(self) -> None:
        super().__init__(InvestigationScreen)


class InvestigationScreen(ReplayScreen):
    """Shows the replay that goes to the start as a replay, and then the trials."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._view: View | None = None
        self._received = 0.0
        self._told: set[str] = set()  # trials whose end was printed
        self._spinner = Spinner("dots")

    def show(self, view: View) -> None:
        """Show how far the investigation is."""
        if self._view is None:
            self._printed = time.monotonic()
            self.close()
            self._opening, self._bar = None, None
            if self._console.is_terminal and not self._console.is_dumb_terminal:
                self._live = Live(console=self._console, auto_refresh=False, transient=True, get_renderable=self._panel)
                self._live.start()
        self._view, self._received = view, time.monotonic()
        if self._live is None:
            self._print_new(view)

    def error(self, text: str) -> None:
        self.close()
        super().error(text)

    def _print_new(self, view: View) -> None:
        """Print the trials that have ended since the last call; without any, how far it is, from time to time."""
        new = [row for row in view.rows if row.outcome and _identity(row) not in self._told]
        for row in new:
            self._told.add(_identity(row))
            self.message(_line(row))
        now = time.monotonic()
        if not new and now - self._printed >= _PLAIN_EVERY:
            self.message(f"{view.stage}: {_spent(view, 0.0)}")
        if new or now - self._printed >= _PLAIN_EVERY:
            self._printed = now

    def _panel(self) -> RenderableType:
        view = self._view
        if view is None:
            return super()._panel()
        rows = view.rows
        room = max(3, self._console.height - _FRAME)
        hidden = len(rows) - room if len(rows) > room else 0
        table = trial_table(rows[hidden:], view.healthy, view.broken, self._console.width)
        head = Table.grid(padding=(0, 1))
        head.add_row(self._spinner, Text(view.stage, style="bold"))
        since = time.monotonic() - self._received
        parts: list[RenderableType] = [head]
        if view.verdict:
            parts.append(Text(f"So far: {view.verdict}", overflow="ellipsis", no_wrap=True))
        if hidden:
            parts.append(Text(f"… {count(hidden, 'earlier trial')}", style="dim"))
        parts += [
            table,
            Text(
                f"{_spent(view, since)} · Ctrl-C keeps what is finished", style="dim", overflow="ellipsis", no_wrap=True
            ),
        ]
        return Group(*parts)


def trial_table(rows: Sequence[Row], healthy: float, broken: float, width: int) -> Table:
    """Make a table of trials."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    wide = width >= _WIDE
    room = _LONGEST if wide else max(_SHORTEST, width - _NUMBERS)
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
        name = Text(row.name, style="" if row.outcome else "bold")
        runs = Text(str(row.finished) if row.outcome else f"{row.finished}/{row.arms}")
        breaks = Text("" if row.measured or not row.finished else str(row.breaks), style=style)
        curve = Text(sparkline(row.curve, healthy, broken), style=style or "dim")
        end = row.curve[-1] if row.curve else None
        curve.append(f" {_loss(end)}" if row.curve else "", style="dim")
        curve.append(f" {row.failed}" if row.failed else "", style="yellow")
        table.add_row(name, *([Text(row.changes)] if wide else []), runs, breaks, curve)
    return table


def sparkline(curve: Sequence[float | None], low: float, high: float) -> str:
    """Draw losses as bars between the levels `low` and `high`; where they are many, several share one."""
    if not curve:
        return ""
    per = max(1, math.ceil(len(curve) / _WIDTH))
    parts = [curve[start : start + per] for start in range(0, len(curve), per)]
    return "".join(_bar(part, low, high) for part in parts)


def _bar(values: Sequence[float | None], low: float, high: float) -> str:
    finite = [value for value in values if value is not None]
    if len(finite) < len(values):
        return _NOT_FINITE
    share = (sum(finite) / len(finite) - low) / ((high - low) or 1.0)
    return _BARS[min(len(_BARS) - 1, max(0, round(share * (len(_BARS) - 1))))]


def _loss(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _identity(row: Row) -> str:
    return f"{row.name} {row.arms}"


def _line(row: Row) -> str:
    """Say how a trial has ended, in a line."""
    if row.measured:
        return f"{row.name}: {row.finished} done"
    end = f", loss {_loss(row.curve[-1])}" if row.curve else ""
    other = row.arms - row.breaks - row.heals
    unclear = f", {other} {row.failed or 'not clear'}" if other else ""
    return f"{row.name}: {row.breaks} of {row.arms} break{unclear}{end}"


def _spent(view: View, since: float) -> str:
    return (
        f"{count(view.replays, 'replay')}, {view.iterations:,} iterations of about "
        f"{max(view.expected, view.iterations):,}, {duration(round(view.seconds + since))}"
    )
