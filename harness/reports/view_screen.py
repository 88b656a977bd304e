"""Draw views on standard error: a live table on a terminal, a line for each row that has ended elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from harness.reports.console import Console
from harness.reports.replay_screen import ReplayScreen

_PLAIN_EVERY = 10.0  # seconds between plain lines while nothing ends


class View(Protocol):
    """What a long command shows of itself at a moment. Views are sent to another process."""

    @property
    def stage(self) -> str:
        """What the command does now; empty where it has a single stage."""
        ...

    @property
    def hint(self) -> str:
        """What Ctrl-C does."""
        ...

    def ended(self) -> Mapping[str, str]:
        """Return a line for each row that has ended, by what identifies the row."""
        ...

    def progress(self, since: float) -> str:
        """Say how far the command is, `since` seconds after the view was made."""
        ...

    def drawn(self, width: int, height: int) -> Sequence[RenderableType]:
        """Return a table of the rows, and lines around it, for a terminal of that size."""
        ...


class ViewScreen(ReplayScreen):
    """Shows views; before the first one, a replay that the command makes."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._view: View | None = None
        self._received = 0.0
        self._told: set[str] = set()  # rows whose end was printed
        self._spinner = Spinner("dots")

    def show(self, view: View) -> None:
        """Show how far the command is."""
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
        """Print the rows that have ended since the last call; without any, how far it is, from time to time."""
        new = {row: line for row, line in view.ended().items() if row not in self._told}
        self._told |= new.keys()
        for line in new.values():
            self.message(line)
        is_due = time.monotonic() - self._printed >= _PLAIN_EVERY
        if not new and is_due:
            self.message(f"{view.stage}: {view.progress(0.0)}" if view.stage else view.progress(0.0))
        if new or is_due:
            self._printed = time.monotonic()

    def _panel(self) -> RenderableType:
        view = self._view
        if view is None:
            return super()._panel()
        parts: list[RenderableType] = []
        if view.stage:
            head = Table.grid(padding=(0, 1))
            head.add_row(self._spinner, Text(view.stage, style="bold"))
            parts.append(head)
        parts += view.drawn(self._console.width, self._console.height)
        line = f"{view.progress(time.monotonic() - self._received)} · {view.hint}"
        return Group(*parts, Text(line, style="dim", overflow="ellipsis", no_wrap=True))
