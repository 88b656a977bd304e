"""A run of a log with its findings: what the terminal, JSON, CSV and figures show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.caffe_files.log_header import LogHeader
from harness.caffe_files.solver_search import SolverFile
from harness.caffe_log.model import Log, LogRun
from harness.diagnosis.logged.findings import RunFindings
from harness.reports.log_commands import log_commands
from harness.reports.suggestion import Suggestion
from harness.reports.text.log_summary.summary import summarise


@dataclass(frozen=True)
class LogResult:
    """Run `number` of a log, and its findings.

    `solver` is the solver file: the one that the user named, or one with the solver that the log prints.
    """

    log: Log
    number: int
    is_last: bool  # of its log
    run: LogRun
    findings: RunFindings
    header: LogHeader
    solver: SolverFile | None

    @property
    def name(self) -> str:
        """The name of the log; bytes that are not UTF-8 are replaced."""
        return self.log.name.encode(errors="replace").decode()

    @property
    def extent(self) -> tuple[int, int] | None:
        """The first and the last iteration with a display or a test; None without any."""
        shown = self.findings.coverage
        return (shown.first, shown.last) if shown.displays or self.findings.tests else None

    @property
    def sentences(self) -> list[str]:
        """The findings in sentences. Those on the last run of a log include remarks about the log."""
        found = summarise(self.findings, self.log if self.is_last else None)
        if self.extent is None and not len(self.run.lr.iterations):
            found = [self._nothing_displayed(), *found[1:]]
        return [*found, *self._remarks()]

    @property
    def suggestions(self) -> list[Suggestion]:
        """Commands to look at the jump; empty for a run without one."""
        return log_commands(self.log.name, self.run, self.findings, self.solver, self.header.max_iter)

    def _nothing_displayed(self) -> str:
        if self.findings.lifecycle.fatal:
            return "A run starts here and died before it displayed anything."
        if self.findings.lifecycle.finished:
            return "A run starts here and ended without displaying anything (with `display: 0` Caffe prints no loss)."
        return "A run starts here and has not displayed anything yet."

    def _remarks(self) -> Iterator[str]:
        if self.findings.jump is not None and self.findings.last_good is not None:
            iteration, file = self.findings.last_good
            yield f"The newest snapshot from before the onset is of iteration {iteration:,}: {file}"
        others, unassigned = self.run.other_solvers, self.log.unassigned
        if self.run.rank and others:
            yield f"{others + 1} ranks (GPUs, processes) printed to the log. Only rank {self.run.rank} was read."
        elif others:
            many = f"{others} more solvers (GPUs, ranks)" if others > 1 else "One more solver (GPU, rank)"
            yield f"{many} of this run printed to the log as well. Only the first one was read."
        if self.run.outputs_left_out:
            yield (
                f"{self.run.outputs_left_out:,} of the outputs of a display were left out, because there are too many; "
                "the losses are complete."
            )
        if self.is_last and unassigned:
            belong = "outputs belong" if unassigned > 1 else "output belongs"
            yield f"{unassigned:,} {belong} to a display that is not in the log."
