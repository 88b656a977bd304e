"""Show restarts while they train."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from harness.reports.investigation_view import InvestigationView, TrialRow
from harness.reports.sparkline import curve_of
from harness.reports.view_terminal import ViewTerminal
from harness.schemas.explanation import Levels

_MOST = 400  # losses of a curve, the last ones


class Showing:
    """Shows restarts on `terminal`, a row each.

    Args:
        stage: what they are for.
        levels: between which losses are drawn.
        changes: what each restart changes, in words, by its name.
        expected: about how many iterations they will take.
    """

    def __init__(
        self,
        terminal: ViewTerminal,
        stage: str,
        levels: Levels,
        changes: dict[str, str],
        expected: int,
    ) -> None:
        self._terminal, self._stage, self._levels, self._expected = terminal, stage, levels, expected
        self._begun = time.monotonic()
        self._rows = {name: TrialRow(name, words, 1, 0, 0, 0, False, ()) for name, words in changes.items()}
        self._finished = 0  # iterations
        self._under_way: dict[str, int] = {}  # iterations, by name

    def progress(self, name: str, loss: Sequence[float], trained: int) -> None:
        """Note the last losses of a restart, which has trained `trained` iterations so far."""
        self._rows[name] = replace(self._rows[name], curve=curve_of(loss[-_MOST:]))
        self._under_way[name] = trained

    def ended(self, name: str, trained: int) -> None:
        """Note that a leg of a restart has ended."""
        self._under_way.pop(name, None)
        self._finished += trained

    def judged(self, name: str, got_past: bool) -> None:
        """Note whether a restart got past the break."""
        self._rows[name] = replace(self._rows[name], finished=1, breaks=int(not got_past), heals=int(got_past))
        self.show()

    def message(self, text: str) -> None:
        """Show a line that stays."""
        self._terminal.message(text)

    def show(self) -> None:
        """Show what there is, if that is due."""
        self._terminal.show(self._view)

    def _view(self) -> InvestigationView:
        levels = self._levels
        return InvestigationView(
            stage=self._stage,
            verdict="",
            rows=tuple(self._rows.values()),
            replays=sum(row.finished for row in self._rows.values()),
            iterations=self._finished + sum(self._under_way.values()),
            seconds=time.monotonic() - self._begun,
            expected=self._expected,
            healthy=levels.healthy,
            broken=levels.highest,
        )
