"""What was found out about a run, in sentences that a user can act on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.caffe_log.model import Log
from harness.diagnosis.logged.findings import RunFindings
from harness.reports.text.log_summary.context import besides, data, rate, tests, when
from harness.reports.text.log_summary.outcome import of_the_heads, what


def sentences(run: RunFindings, log: Log | None = None, solver: Path | None = None) -> list[str]:
    """The findings, the most important one first, with what is to be said of the whole `log`, and the command to type
    next, with the file `solver` in it."""
    parts = (what, of_the_heads, when, rate, data, besides, tests)
    said = [sentence for part in parts for sentence in part(run)]
    return [*said, *_of_log(run, log), *_next(run, solver)]


def _of_log(run: RunFindings, log: Log | None) -> Iterator[str]:
    if run.lifecycle.fatal:
        yield f"The process died: {run.lifecycle.fatal}"
    if log is None:
        return
    if log.damaged:
        first = f", the first of them line {log.examples[0][0]:,}" if log.examples else ""
        yield f"{log.damaged:,} damaged line{'s' if log.damaged > 1 else ''} could not be used{first}."
    if log.thinned:
        yield "The log has more displays than are kept: they were thinned out evenly, and dates are that much coarser."
    if log.left_out:
        yield f"{log.left_out:,} older runs in the log were left out."


def _next(run: RunFindings, solver: Path | None) -> Iterator[str]:
    if run.jump is not None:
        yield (
            "To see what every layer did there, run it again and keep those iterations whole: "
            f"python harness/run.py --solver {solver or 'SOLVER.prototxt'} --watch {run.jump.watch}"
        )
