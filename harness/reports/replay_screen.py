"""Draw the replays of a command on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time

from rich.console import RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from harness.reports.console import Console
from harness.reports.terminal import Terminal
from harness.schemas.events import Event, Frames, Replaying
from harness.schemas.outcome import Opening

_PLAIN_EVERY = 10.0  # seconds between plain lines


class ReplayScreen(Terminal):
    """Shows one replay after the other: how far each is, and the seconds that are left."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._at = -1  # the last iteration that was replayed
        self._begun = 0.0

    def start(self, opening: Opening) -> None:
        self.close()
        self._opening = opening
        self._at = opening.first - 1
        self._begun = self._printed = time.monotonic()
        if self._console.is_terminal:
            self._bar = Bar(
                TextColumn("Replaying iteration {task.fields[iteration]:,}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TaskProgressColumn(),
                TextColumn("left"),
                TimeRemainingColumn(elapsed_when_finished=False),
                expand=True,
            )
            count = opening.until - opening.first
            self._task = self._bar.add_task("", total=count, iteration=opening.first)
            self._live = Live(console=self._console, auto_refresh=False, transient=True, get_renderable=self._panel)
            self._live.start()

    def event(self, event: Event) -> None:
        if isinstance(event, Frames) and self._opening is not None:
            self._at = int(event.rows[-1]["iteration"])
            if self._bar is not None:
                done = self._at + 1 - self._opening.first
                self._bar.update(self._task, completed=done, iteration=self._at)
        elif isinstance(event, Replaying) and event.iteration:
            self.message(f"Repeating the random draws of earlier iterations: {event.iteration:,} done")

    def tick(self, recorded_bytes: int) -> None:
        now = time.monotonic()
        if self._live is None and self._opening is not None and now - self._printed >= _PLAIN_EVERY:
            self._printed = now
            first, until = self._opening.first, self._opening.until
            done = self._at + 1 - first
            left = f", {(now - self._begun) / done * (until - first - done):,.0f} s left" if done else ""
            self.message(f"Replayed {done:,} of {until - first:,} iterations, from {first:,} on{left}")

    def _panel(self) -> RenderableType:
        return self._bar if self._bar is not None else ""


class DirectScreen(ReplayScreen):
    """A replay screen of the process that replays, as in a notebook, where no other process can draw."""

    dropped = None

    def __init__(self) -> None:
        super().__init__(Console(stderr=True))

    def tick(self, recorded_bytes: int) -> None:
        super().tick(recorded_bytes)
        self.refresh()
