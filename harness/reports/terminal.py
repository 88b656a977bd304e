"""Draw a run on standard error: a live panel on a terminal, plain lines elsewhere.

It writes, so it may wait and it may fail; it runs in the process that `terminal_process` starts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)
from rich.table import Table
from rich.text import Text

from harness.diagnosis.recorded.progress import HeadNow, Progress, progress
from harness.exit_codes import Exit
from harness.quantities import data_size
from harness.reports.console import Console
from harness.reports.text.alarms import alarm_lines, divergence_lines
from harness.reports.text.exactness import not_exact
from harness.schemas.events import (
    Event,
    Frames,
    NotExact,
    OtherLabels,
    OtherShape,
    Replayed,
    Replaying,
    SnapshotTaken,
    TestPass,
    WeightsCopied,
)
from harness.schemas.layout import Alarm, Layout
from harness.schemas.outcome import Divergence, Opening, Outcome

_PLAIN_EVERY = 10.0  # seconds between plain lines


class Terminal:
    """Shows one run on `console`. While `is_live`, the panel is drawn when `refresh` is called."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._opening: Opening | None = None
        self._live: Live | None = None
        self._bar: Bar | None = None
        self._task = TaskID(0)
        self._now: Progress | None = None
        self._test: str | None = None
        self._explained: set[str] = set()  # rules
        self._diverged = False
        self._bytes = 0
        self._printed = 0.0  # time of the last plain line
        self._printed_iteration = -1
        self._labels: Bar | None = None  # while labels are read

    @property
    def is_live(self) -> bool:
        """A part of the screen is drawn again and again."""
        return self._live is not None or self._labels is not None

    def refresh(self) -> None:
        """Draw that part again."""
        for part in (self._labels, self._live):
            if part is not None:
                part.refresh()

    def reading(self, done: int, total: int) -> None:
        """Show how many of how many labels were read, until something else is shown."""
        if not self._console.is_terminal:
            return
        if self._labels is None:
            self._labels = Bar(console=self._console, transient=True, auto_refresh=False)
            self._task = self._labels.add_task("Reading labels")
            self._labels.start()
        self._labels.update(self._task, completed=done, total=total)

    def error(self, text: str) -> None:
        """Print why there is no run."""
        self._stop_reading()
        self._console.print(Text(f"error: {text}", style="bold red"), soft_wrap=True)

    def _stop_reading(self) -> None:
        if self._labels is not None:
            self._labels.stop()
            self._labels = None

    # -- the listener's methods --------------------------------------------------------------------------------------

    def message(self, text: str) -> None:
        """Print a sentence that stays on the screen, or, indented by four spaces, a command to copy."""
        self._print(Text(text, no_wrap=text.startswith("    ")))

    def start(self, opening: Opening) -> None:
        self._opening = opening
        self.message(f"Recording {opening.title} into {opening.directory}/")
        self.message(_sizes(opening))
        if self._console.is_terminal:
            self._bar = Bar(
                TextColumn("iteration"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                expand=True,
            )
            self._task = self._bar.add_task("", total=opening.until, completed=opening.first)
            self._live = Live(console=self._console, auto_refresh=False, get_renderable=self._panel)
            self._live.start()

    def event(self, event: Event) -> None:
        if isinstance(event, Frames) and self._opening is not None:
            self._now = progress(event.rows[-1], self._opening.layout)
            if self._bar is not None:
                self._bar.update(self._task, completed=self._now.iteration + 1)
        elif isinstance(event, TestPass) and self._opening is not None:
            self._test = _test_line(event, self._opening.layout)
            if self._live is None:
                self.message(f"Test pass at {self._test}")
        else:
            text = _note_line(event)
            if text:
                self.message(text)

    def alarms(self, alarms: Sequence[Alarm], divergences: Sequence[Alarm], divergence: Divergence | None) -> None:
        """Print alarms. After a divergence, which would raise many, print only the first alarm of each other rule.

        Its onset is described here if the run goes on, else when it has ended.
        """
        assert self._opening is not None
        new = [alarm for alarm in alarms if alarm in divergences or alarm.rule not in self._explained]
        for line in alarm_lines(new if self._diverged else alarms, divergences, self._opening, self._explained):
            self._print(line)
        self._explained |= {alarm.rule for alarm in alarms}
        if divergence is not None and not divergence.stops and not self._diverged:
            for line in divergence_lines(divergence, self._opening):
                self._print(line)
        self._diverged = self._diverged or bool(divergences)

    def tick(self, recorded_bytes: int) -> None:
        self._bytes = recorded_bytes
        now = time.monotonic()
        new = self._now is not None and self._now.iteration != self._printed_iteration
        if self._live is None and self._now is not None and new and now - self._printed >= _PLAIN_EVERY:
            self._printed, self._printed_iteration = now, self._now.iteration
            self.message(_plain_line(self._now, self._opening, recorded_bytes))

    def close(self) -> None:
        """Draw the live panel for the last time."""
        self._stop_reading()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def finish(self, outcome: Outcome) -> None:
        self.close()
        if not self._console.is_terminal and self._now is not None and self._now.iteration != self._printed_iteration:
            self.message(_plain_line(self._now, self._opening, self._bytes))
        for line in outcome.last_words:
            self.message(f"Caffe said: {line}")
        if outcome.divergence is not None and self._opening is not None:
            for text in divergence_lines(outcome.divergence, self._opening):
                self._print(text)
        style = "bold green" if outcome.code == 0 else "bold yellow" if outcome.code == 130 else "bold red"
        error = "error: " if outcome.code == Exit.BAD_INPUT else ""  # as where nothing was started
        self._print(Text(error + outcome.sentence, style=style))

    def _print(self, text: Text) -> None:
        self._stop_reading()
        # do not wrap lines in a log file, which is searched by line, nor commands, which are copied
        self._console.print(text, soft_wrap=not self._console.is_terminal or bool(text.no_wrap))

    # -- the panel --------------------------------------------------------------------------------------------------

    def _panel(self) -> RenderableType:
        if self._opening is None or self._bar is None:
            return Text("")
        if self._now is None:
            return Group(self._bar, Text("waiting for the first iteration…", style="dim"))
        now = self._now
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim")
        grid.add_column()
        grid.add_row("loss", f"{now.smoothed_loss:.4g} smoothed, {now.loss:.4g} in this iteration · lr {now.lr:.4g}")
        for head in now.heads:
            grid.add_row(f"  {head.name}", _head_bar(head))
        bad = f" · {now.nonfinite:,} gradient elements not finite" if now.nonfinite else ""
        grid.add_row("norms", f"gradient {now.gradient_l2:.4g} · weights {now.weight_l2:.4g}{bad}")
        fastest = ", ".join(f"{m.label} {m.ratio:.2g}" for m in now.fastest)
        grid.add_row("fastest", Text(f"‖update‖ / ‖weight‖: {fastest}", overflow="ellipsis", no_wrap=True))
        grid.add_row("window", _window_state(self._opening, now.iteration))
        if self._test:
            grid.add_row("test", Text(self._test, overflow="ellipsis", no_wrap=True))
        grid.add_row("recorded", f"{data_size(self._bytes)} in {self._opening.directory}/recording.h5")
        return Group(self._bar, grid)


def _head_bar(head: HeadNow) -> Text:
    """Draw a loss as a bar: full at the chance level ln(classes), empty at 0."""
    text = Text(f"{head.loss:<8.4g}")
    if head.chance is None:
        return text
    width = 24
    filled = min(width, max(0, round(width * head.loss / head.chance))) if head.loss == head.loss else width
    lost = head.loss >= 0.98 * head.chance or head.loss != head.loss
    text.append("━" * filled, style="red" if lost else "cyan")
    text.append("━" * (width - filled), style="grey30")
    text.append(f" ln(classes) = {head.chance:.4g}, weight {head.weight:g}", style="dim")
    return text


def _window_state(opening: Opening, iteration: int) -> str:
    if not opening.windows:
        return "none (--watch A:B records all weights, gradients, updates and inputs of iterations A … B-1)"
    for window in opening.windows:
        if iteration < window.start:
            return f"{window} opens in {window.start - iteration:,} iterations"
        if iteration in window:
            return f"{window} open: {iteration - window.start + 1} of {len(window)} iterations recorded"
    return f"{', '.join(map(str, opening.windows))} complete"


def _sizes(opening: Opening) -> str:
    rows = f"{data_size(opening.row_bytes)} for {opening.until - opening.first:,} iterations"
    if not opening.windows:
        return f"Expected size: {rows}; no window"
    count = sum(len(w) for w in opening.windows)
    windows = f"window{'s' if len(opening.windows) > 1 else ''} {', '.join(map(str, opening.windows))}"
    return f"Expected size: {rows}, {data_size(opening.window_bytes)} for {count:,} iterations in the {windows}"


def _plain_line(now: Progress, opening: Opening | None, recorded: int) -> str:
    heads = " ".join(f"{h.name} {h.loss:.4g}" for h in now.heads)
    until = f"/{opening.until:,}" if opening else ""
    return (
        f"iteration {now.iteration + 1:,}{until}  loss {now.smoothed_loss:.4g}  {heads}  lr {now.lr:.4g}  "
        f"gradient {now.gradient_l2:.4g}  recorded {data_size(recorded)}"
    )


def _test_line(event: TestPass, layout: Layout) -> str:
    outputs = layout.test_outputs[event.net]
    values = iter(event.values.tolist())
    parts = [f"{o.name} " + " ".join(f"{next(values):.4g}" for _ in range(o.size)) for o in outputs]
    return f"iteration {event.iteration:,}, net #{event.net}: {', '.join(parts)}"


def _note_line(note: Event) -> str | None:
    match note:
        case SnapshotTaken():
            return f"Snapshot of iteration {note.iteration:,}: snapshots/{note.caffemodel}"
        case NotExact(reason):
            return not_exact(reason)
        case Replayed(replay) if replay.seconds >= 0.05:
            return (
                f"Restored the random state in {replay.seconds:.2g} s by repeating the draws of {replay.iterations:,} "
                "iterations"
            )
        case Replaying(iteration) if iteration:
            return f"Repeating the random draws of earlier iterations: {iteration:,} done"
        case OtherLabels(iteration):
            return (
                f"Iteration {iteration}: the labels in the net differ from those of the records it should have read; "
                "its record keys are left empty"
            )
        case OtherShape(iteration, blob):
            return f"Iteration {iteration}: the input {blob} has changed its shape; it is recorded as zeros"
        case WeightsCopied(weights):
            return (
                f"Weights from {weights.file}: copied {_names(weights.copied)}; "
                f"new, left as initialised: {_names(weights.new)}; in the file only: {_names(weights.skipped)}"
            )
    return None


def _names(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names)})" if names else "none"
