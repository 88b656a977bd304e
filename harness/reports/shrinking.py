"""Show how a capsule is shrunk, on standard error: a table on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.quantities import duration, file_size
from harness.reports.console import Console
from harness.reports.text.grammar import count

_PLAIN_EVERY = 10.0  # seconds between lines about what is tried
_DRAW_EVERY = 0.2  # seconds between two drawings of the table


@dataclass(frozen=True)
class Row:
    """What a phase has found, and the bytes of the smallest capsule after it."""

    phase: str
    found: str
    size: int


class Shrinking:
    """Shows a search on `console` inside a `with` block."""

    def __init__(self, console: Console, size: int) -> None:
        self._console = console
        self._rows = [Row("", "the capsule", size)]
        self._phase, self._trying = "", ""
        self._spent = ""
        self._drawn = self._printed = time.monotonic()
        self._live = Live(console=console, auto_refresh=False, get_renderable=self._table, transient=True)

    def __enter__(self) -> Shrinking:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live.is_started:
            self._live.stop()
            self._console.print(self._results())

    def trying(self, phase: str, what: str, spent: str) -> None:
        """Show what is tried, and what was spent so far."""
        self._phase, self._trying, self._spent = phase, what, spent
        now = time.monotonic()
        if not self._console.is_terminal and now - self._printed >= _PLAIN_EVERY:
            self._printed = now
            self._console.print(Text(f"trying {phase}: {what} ({spent})"), soft_wrap=True)
        self.tick(spent)

    def found(self, phase: str, what: str, size: int, spent: str) -> None:
        """Show the result of a phase."""
        self._rows.append(Row(phase, what, size))
        if not self._console.is_terminal:
            self._printed = time.monotonic()
            self._console.print(Text(f"{phase}: {what}; {file_size(size)} ({spent})"), soft_wrap=True)
        self.tick(spent)

    def tick(self, spent: str) -> None:
        """Draw the table again, if that is due."""
        self._spent = spent
        if self._live.is_started and time.monotonic() - self._drawn >= _DRAW_EVERY:
            self._drawn = time.monotonic()
            self._live.refresh()

    def _table(self) -> RenderableType:
        table = self._results()
        table.add_row(Text(self._phase, style="bold"), Text(f"trying {self._trying}…", style="dim"), "")
        hint = Text(f"{self._spent} · Ctrl-C keeps the smallest so far", style="dim")
        return Group(table, hint)

    def _results(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="ellipsis", no_wrap=True, min_width=40)
        table.add_column(justify="right", no_wrap=True)
        for row in self._rows:
            table.add_row(row.phase, row.found, file_size(row.size))
        return table


def spent_text(replays: int, iterations: int, seconds: float) -> str:
    """Describe what a search has cost: `12 replays, 84 iterations, 38 s`."""
    return f"{count(replays, 'replay')}, {count(iterations, 'iteration')}, {duration(seconds)}"
