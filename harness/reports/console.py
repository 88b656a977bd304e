"""The console of all commands: what it prints is text, whatever characters it contains."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import IO, Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.protocol import rich_cast
from rich.segment import Segment
from rich.text import Span, Text

from harness.output import hidden_spans, visible_line


class Console(rich.console.Console):
    """A console that reads no markup in a text, shows control characters and line feeds as escapes, and raises if
    a pipe is closed.
    """

    def __init__(self, *, stderr: bool = False, file: IO[str] | None = None, width: int | None = None) -> None:
        super().__init__(stderr=stderr, file=file, width=width, markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        cast = rich_cast(renderable)
        return super().render(_visible_text(cast) if isinstance(cast, Text) else cast, options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible_line(text), **options)

    def on_broken_pipe(self) -> None:
        """Raise, instead of exiting with 1 as rich does."""
        raise BrokenPipeError(32, "Broken pipe")


def results_console(columns: int) -> Console:
    """Return a console for standard output: as wide as the terminal, or `columns` in a file or a pipe."""
    return Console(width=None if sys.stdout.isatty() else columns)


def complain(error: object) -> None:
    """Print an error on standard error, if that can be written."""
    with suppress(OSError):
        Console(stderr=True).print(Text(f"error: {visible_line(error)}", style="bold red"), soft_wrap=True)


def _visible_text(text: Text) -> Text:
    """Return `text` with its control characters and line feeds as escapes, in the style that each of them had."""
    hidden = hidden_spans(text.plain)
    if not hidden:
        return text
    shown = text.blank_copy()
    for part in text.divide(position for span in hidden for position in span):
        escape = visible_line(part.plain)
        if escape == part.plain:
            shown.append_text(part)
        else:  # a single character
            spans = [Span(0, len(escape), span.style) for span in part.spans]
            shown.append_text(Text(escape, style=part.style, spans=spans))
    return shown
