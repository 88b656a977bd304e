"""Sentences about losses that leap with a period, differ widely, or fall below zero."""

from __future__ import annotations

from collections.abc import Iterator

from harness.diagnosis.logged.findings import RunFindings


def unsteady(run: RunFindings) -> Iterator[str]:
    """Describe what was seen, and what to check."""
    trend, last = run.trend, run.coverage.last
    if run.why == "leaps" and run.leaps is not None:
        yield (
            f"The loss goes up and down with a period of {run.leaps.period:,} iterations, between {run.leaps.low:.4g} "
            f"and {run.leaps.high:.4g}. Compare the period with an epoch (records / batch size): records that are "
            "sorted by class, or come from several files one after the other, have such losses. Shuffle them."
        )
    if run.why == "noise" and run.spread is not None:
        low, high = run.spread
        yield (
            f"The displayed losses differ widely ({low:.4g} to {high:.4g}) and neither rise nor fall; they are at "
            f"{trend.end:.4g} at iteration {last:,}. Look at the batch size and at the learning rate "
            "first."
        )
    if run.why == "below zero":
        course = f"{trend.start:.4g} at the start, {trend.end:.4g} at iteration {last:,}"
        yield (
            f"The loss is below zero ({course}). Caffe's own losses are never negative for the targets that they are "
            "made for: check that the targets of a sigmoid cross-entropy lie in 0 … 1 (masks of 0 and 255 do not), and "
            "labels in 0 … classes - 1."
        )
