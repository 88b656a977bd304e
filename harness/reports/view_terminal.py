"""Show views: what a long command looks like at a moment, drawn in a process of its own as often as it keeps up."""

from __future__ import annotations

from collections.abc import Callable

from harness.reports.terminal_process import TerminalProcess
from harness.reports.view_screen import View, ViewScreen


class ViewTerminal(TerminalProcess):
    """Shows views. Create it before any thread."""

    def __init__(self) -> None:
        super().__init__(ViewScreen)
        self._latest: Callable[[], View] | None = None

    def show(self, view: Callable[[], View]) -> None:
        """Show what `view` returns, now or a moment later; it is called when that is due."""
        self._latest = view
        if self._is_due():
            self._call("show", view())

    def error(self, text: str) -> None:
        self._show_last()
        super().error(text)

    def close(self) -> None:
        self._show_last()
        super().close()

    def _show_last(self) -> None:
        if self._latest is not None:
            self._call("show", self._latest())
            self._latest = None
