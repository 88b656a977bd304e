"""Draw a sweep on standard error: a live table of its restarts on a terminal, a line for each end elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.quantities import duration
from harness.reports.console import Console
from harness.reports.investigation import sparkline
from harness.reports.terminal import Terminal
from harness.reports.text.grammar import count
from harness.reports.view_terminal import ViewTerminal

_PLAIN_EVERY = 10.0  # seconds between plain lines while nothing ends
_FRAME = 4  # lines of the screen that are not for restarts
_SHORTEST = 16  # columns of a name on the narrowest terminal
_NUMBERS = 64  # columns of all that is not a name
_NARROW = 100  # columns below which curves have half of their width
_HALF = 12
_STYLES = {"complete": "green", "running": "", "waiting": "dim", "interrupted": "dim"}
WAITING, RUNNING = "waiting", "running"


@dataclass(frozen=True)
class LegRow:
    """A restart.

    Attributes:
        state: "waiting", "running", or how it ended.
        iteration: before which it is.
        curve: its losses, thinned out; None where not finite.
        loss: the last one; None without any.
    """

    name: str
    state: str
    iteration: int
    until: int
    curve: tuple[float | None, ...] = ()
    loss: float | None = None

    @property
    def ended(self) -> bool:
        return self.state not in (WAITING, RUNNING)


@dataclass(frozen=True)
class SweepView:
    """What a sweep shows of itself.

    Attributes:
        iterations, expected: that are trained, and that all restarts take.
        seconds, left: since it began, and about as many that are left; None where not known.
        low, high: the losses between which curves are drawn.
    """

    rows: tuple[LegRow, ...]
    iterations: int
    expected: int
    seconds: float
    left: float | None
    low: float
    high: float


class SweepTerminal(ViewTerminal):
    """Shows a sweep. Create it before any thread."""

    def __init__(self) -> None:
        super().__init__(SweepScreen)


class SweepScreen(Terminal):
    """Shows restarts while they train."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._view: SweepView | None = None
        self._received = 0.0
        self._told: set[str] = set()  # restarts whose end was printed

    def show(self, view: SweepView) -> None:
        """Show how far the sweep is."""
        if self._view is None:
            self._printed = time.monotonic()
            if self._console.is_terminal and not self._console.is_dumb_terminal:
                self._live = Live(console=self._console, auto_refresh=False, transient=True, get_renderable=self._panel)
                self._live.start()
        self._view, self._received = view, time.monotonic()
        if self._live is None:
            self._print_new(view)

    def error(self, text: str) -> None:
        self.close()
        super().error(text)

    def _print_new(self, view: SweepView) -> None:
        """Print the restarts that have ended since the last call; without any, how far it is, from time to time."""
        new = [row for row in view.rows if row.ended and row.name not in self._told]
        for row in new:
            self._told.add(row.name)
            end = f", loss {row.loss:.3g}" if row.loss is not None else ""
            self.message(f"{row.name}: {row.state}, iteration {row.iteration:,}{end}")
        now = time.monotonic()
        if not new and now - self._printed >= _PLAIN_EVERY:
            self.message(_progress(view, 0.0))
        if new or now - self._printed >= _PLAIN_EVERY:
            self._printed = now

    def _panel(self) -> RenderableType:
        view = self._view
        if view is None:
            return super()._panel()
        room = max(3, self._console.height - _FRAME)
        rows = _most_interesting(view.rows, room)
        parts: list[RenderableType] = [_table(rows, view.low, view.high, self._console.width)]
        hidden = len(view.rows) - len(rows)
        if hidden:
            parts.append(Text(f"… {count(hidden, 'other restart')}", style="dim"))
        since = time.monotonic() - self._received
        line = f"{_progress(view, since)} · Ctrl-C stops with snapshots, the same command goes on"
        parts.append(Text(line, style="dim", overflow="ellipsis", no_wrap=True))
        return Group(*parts)


def _most_interesting(rows: Sequence[LegRow], room: int) -> list[LegRow]:
    """Return as many rows as there is room for, in their order: those that run, then those that ended last."""
    if len(rows) <= room:
        return list(rows)
    order = sorted(range(len(rows)), key=lambda i: (rows[i].state != RUNNING, not rows[i].ended, -i))
    return [rows[i] for i in sorted(order[:room])]


def _table(rows: Sequence[LegRow], low: float, high: float, width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    narrow = width < _NARROW
    room = max(_SHORTEST, width - _NUMBERS + (_HALF if narrow else 0))
    table.add_column("restart", no_wrap=True)
    table.add_column("iteration", justify="right", no_wrap=True)
    table.add_column("loss", no_wrap=True, min_width=_HALF if narrow else 2 * _HALF)
    table.add_column("", justify="right", no_wrap=True, min_width=6)
    table.add_column("", no_wrap=True, overflow="ellipsis")
    for row in rows:
        style = _STYLES.get(row.state.partition(",")[0], "yellow")
        at = f"{row.iteration:,}" if row.curve else ""
        end = "" if row.loss is None else f"{row.loss:.3g}"
        drawn = _halved(row.curve) if narrow else row.curve
        curve = Text(sparkline(drawn, low, high), style=style or "cyan")
        name = Text(_shortened(row.name, room), style="bold" if row.state == RUNNING else "")
        table.add_row(name, at, curve, end, Text(row.state, style=style))
    return table


def _halved(curve: Sequence[float | None]) -> list[float | None]:
    """Return the means of pairs."""
    pairs = (curve[start : start + 2] for start in range(0, len(curve), 2))
    return [None if None in pair else sum(filter(None, pair)) / len(pair) for pair in pairs]


def _shortened(name: str, most: int) -> str:
    """Shorten a name in its middle: names differ at both ends."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[len(name) - (most - most // 2 - 1) :]}"


def _progress(view: SweepView, since: float) -> str:
    ended = sum(row.ended for row in view.rows)
    left = "" if view.left is None else f", about {duration(round(max(0.0, view.left - since)))} left"
    return (
        f"{ended} of {count(len(view.rows), 'restart')}, {view.iterations:,} of {view.expected:,} iterations, "
        f"{duration(round(view.seconds + since))}{left}"
    )
