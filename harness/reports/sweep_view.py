"""What a sweep shows of itself while its restarts train."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from harness.quantities import duration
from harness.reports.sparkline import WIDTH, Curve, sparkline
from harness.reports.text.grammar import count, shortened

_FRAME = 4  # lines of the screen that are not for restarts
_SHORTEST = 16  # columns of a name on the narrowest terminal
_NUMBERS = 64  # columns of all that is not a name
_NARROW = 100  # columns below which curves have half of their width
_HALF = WIDTH // 2
_FEWEST = 3  # letters of a field
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
    curve: Curve = ()
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
    stage = ""
    hint = "Ctrl-C stops with snapshots, the same command goes on"

    def ended(self) -> dict[str, str]:
        """Return a line for each restart that has ended, by its name."""
        return {row.name: _line(row) for row in self.rows if row.ended}

    def progress(self, since: float) -> str:
        """Say how far the sweep is, `since` seconds after this was seen."""
        ended = sum(row.ended for row in self.rows)
        left = "" if self.left is None else f", about {duration(round(max(0.0, self.left - since)))} left"
        return (
            f"{ended} of {count(len(self.rows), 'restart')}, {self.iterations:,} of {self.expected:,} iterations, "
            f"{duration(round(self.seconds + since))}{left}"
        )

    def drawn(self, width: int, height: int) -> list[RenderableType]:
        """Return a table of the restarts, as many as there is room for."""
        rows = _most_interesting(self.rows, max(3, height - _FRAME))
        hidden = len(self.rows) - len(rows)
        more = [Text(f"… {count(hidden, 'other restart')}", style="dim")] if hidden else []
        return [_table(rows, self.low, self.high, width), *more]


def _line(row: LegRow) -> str:
    """Say how a restart has ended, in a line."""
    end = f", loss {row.loss:.3g}" if row.loss is not None else ""
    return f"{row.name}: {row.state}, iteration {row.iteration:,}{end}"


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
    table.add_column("loss", no_wrap=True, min_width=_HALF if narrow else WIDTH)
    table.add_column("", justify="right", no_wrap=True, min_width=6)
    table.add_column("", no_wrap=True, overflow="ellipsis")
    for row in rows:
        style = _STYLES.get(row.state.partition(",")[0], "yellow")
        at = f"{row.iteration:,}" if row.curve else ""
        end = "" if row.loss is None else f"{row.loss:.3g}"
        curve = Text(sparkline(row.curve, low, high, _HALF if narrow else WIDTH), style=style or "cyan")
        name = Text(_shortened(row.name, room), style="bold" if row.state == RUNNING else "")
        table.add_row(name, at, curve, end, Text(row.state, style=style))
    return table


def _shortened(name: str, most: int) -> str:
    """Shorten the fields of a name, as in `base…=0.01-clip…=5`; their values tell restarts apart."""
    for letters in range(max(map(len, name.split("=")), default=0), _FEWEST - 1, -1):
        if len(short := re.sub(rf"([^-=]{{{letters}}})[^-=]{{2,}}(?==)", r"\1…", name)) <= most:
            return short
    return shortened(name, most)
