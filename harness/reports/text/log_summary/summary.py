"""Summarise the findings on a run of a log in sentences that a user can act on."""

from __future__ import annotations

from collections.abc import Iterator

from harness.caffe_log.model import Log
from harness.diagnosis.logged.findings import RunFindings
from harness.reports.text.log_summary.context import approach, deviations, learning_rate, onset, records, tests
from harness.reports.text.log_summary.outcome import head_states, outcome


def summarise(run: RunFindings, log: Log | None = None) -> list[str]:
    """Summarise a run, the most important finding first. `log` is for remarks about the whole log."""
    parts = (outcome, head_states, onset, approach, learning_rate, records, deviations, tests)
    sentences = [sentence for part in parts for sentence in part(run)]
    return [*sentences, *_ending(run, log)]


def _ending(run: RunFindings, log: Log | None) -> Iterator[str]:
    if run.lifecycle.fatal:
        yield f"The process died: {run.lifecycle.fatal}"
    if log is None:
        return
    if log.damaged:
        first = f", the first of them line {log.examples[0][0]:,}" if log.examples else ""
        yield f"{log.damaged:,} damaged line{'s' if log.damaged > 1 else ''} could not be used{first}."
    if log.thinned:
        yield "The log has more displays than are kept: they were thinned evenly, which makes dates coarser."
    if log.left_out:
        yield f"{log.left_out:,} older runs in the log were left out."
