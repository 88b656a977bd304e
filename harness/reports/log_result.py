"""A run of a log with all that is to be said of it: what the terminal, JSON, CSV and pictures draw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.caffe_log.model import Log, LogRun
from harness.diagnosis.logged.findings import RunFindings
from harness.reports.text.log_summary.summary import sentences


@dataclass(frozen=True)
class LogResult:
    """Run `number` of a log, what was found out about it, and the solver file that the user named."""

    log: Log
    number: int
    is_last: bool  # of its log
    run: LogRun
    findings: RunFindings
    solver: Path | None

    @property
    def name(self) -> str:
        """With what UTF-8 cannot hold replaced: a file's name may be any bytes."""
        return self.log.name.encode(errors="replace").decode()

    @property
    def extent(self) -> tuple[int, int] | None:
        """The first and the last iteration that is displayed or tested, None where nothing is."""
        shown = self.findings.coverage
        return (shown.first, shown.last) if shown.displays or self.findings.tests else None

    @property
    def sentences(self) -> list[str]:
        """The last run of a log also has what is to be said of the log."""
        said = sentences(self.findings, self.log if self.is_last else None, self.solver)
        if self.extent is None and not len(self.run.lr.iterations):
            said = [self._of_nothing(), *said[1:]]
        command = len(said) - (self.findings.jump is not None)  # which comes last
        return [*said[:command], *self._of_reading(), *said[command:]]

    def _of_nothing(self) -> str:
        if self.findings.lifecycle.fatal:
            return "A run begins here, and died before it displayed anything."
        if self.findings.lifecycle.finished:
            return "A run begins here, and ended without displaying anything (with `display: 0` Caffe prints no loss)."
        return "A run begins here, and displayed nothing yet."

    def _of_reading(self) -> Iterator[str]:
        if self.findings.jump is not None and self.findings.last_good is not None:
            iteration, file = self.findings.last_good
            yield f"The newest snapshot from before it is of iteration {iteration:,}: {file}"
        others, unassigned = self.run.other_solvers, self.log.unassigned
        if others:
            many = f"{others} more solvers (GPUs, ranks)" if others > 1 else "One more solver (GPU, rank)"
            yield f"{many} of this run printed as well: what the first one says was read, the others were left out."
        if self.is_last and unassigned:
            belong = "outputs belong" if unassigned > 1 else "output belongs"
            yield f"{unassigned:,} {belong} to a display that the log does not show."
