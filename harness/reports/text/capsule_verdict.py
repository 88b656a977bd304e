"""Print what repeating a capsule has shown, for people or as one JSON object."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from harness.reports.console import Console
from harness.schemas.capsule import Manifest
from harness.schemas.repetition import Kind, Verdict

_STYLES = {Kind.DIFFERENT: "bold red"}
_HEADLINES = {
    Kind.SAME_BITS: "Same bits",
    Kind.SAME_BREAK: "Same break, other bits",
    Kind.SAME_COURSE: "Same course, other bits",
    Kind.DIFFERENT: "It did not break in the same way",
}
_NONE_KNOWN = (
    "No difference is known from when it was recorded, in processor, BLAS kernels, BLAS threads or build of Caffe"
)


def show(verdict: Verdict, manifest: Manifest, console: Console) -> None:
    """Print the verdict, the levels of the losses, and what may be why the bits differ."""
    headline = _HEADLINES[verdict.kind]
    if verdict.kind is Kind.DIFFERENT and verdict.onset is None:
        headline = "It did not take the same course"
    console.print(Text(headline, style=_STYLES.get(verdict.kind, "bold green")), soft_wrap=True)
    for sentence in sentences(verdict, manifest):
        console.print(Text(sentence), soft_wrap=True)
    console.print()
    console.print(_levels(verdict))
    if verdict.kind is not Kind.SAME_BITS:
        console.print()
        known = "; ".join(verdict.reasons)
        different = f"Other than when it was recorded: {known}" if known else _NONE_KNOWN
        console.print(Text(different), soft_wrap=True)


def sentences(verdict: Verdict, manifest: Manifest) -> Iterator[str]:
    """Say what was seen, one sentence a line."""
    if verdict.ended is not None:
        yield verdict.ended
    equal, of = f"{verdict.equal:,} of {verdict.iterations:,}", f"{manifest.first:,} to {manifest.until - 1:,}"
    same = f"The weights have the recorded digests at {equal} iterations ({of})"
    if verdict.first_difference is None:
        yield f"{same}."
    else:
        yield f"{same}; they differ from iteration {verdict.first_difference:,} on."
    if verdict.onset is not None:
        again = (
            "no onset"
            if verdict.repeated_onset is None
            else f"the onset at iteration {verdict.repeated_onset:,}"
            if verdict.repeated_onset != verdict.onset
            else "the same onset"
        )
        yield f"The recorded break has its onset at iteration {verdict.onset:,}; the repeated one has {again}."
    elif verdict.kind is Kind.DIFFERENT and verdict.repeated_onset is not None:
        yield f"Nothing broke when it was recorded; the repeated one breaks at iteration {verdict.repeated_onset:,}."


def _levels(verdict: Verdict) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("loss (median)")
    broke = " the break" if verdict.onset is not None else ""
    for name in (f"before{broke}", f"after{broke}", "repeated"):
        table.add_column(name, justify="right")
    table.add_column("")
    for level in verdict.levels:
        before = "–" if math.isnan(level.before) else _number(level.before)  # "–": no iteration was before
        numbers = (_number(value) for value in (level.recorded, level.repeated))
        table.add_row(Text(level.name), before, *numbers, Text("" if level.same else "other level", style="red"))
    return table


def _number(value: float) -> str:
    return "not finite" if not math.isfinite(value) else f"{value:.4g}"


def as_json(verdict: Verdict, manifest: Manifest, seconds: float) -> Mapping[str, Any]:
    """Return the verdict as a JSON object; numbers that are not finite are null."""
    return {
        "verdict": verdict.kind.value,
        "reproduced": verdict.reproduced,
        "title": manifest.title,
        "first": manifest.first,
        "until": manifest.until,
        "iterations": verdict.iterations,
        "equal": verdict.equal,
        "first_difference": verdict.first_difference,
        "onset": verdict.onset,
        "repeated_onset": verdict.repeated_onset,
        "levels": [
            {
                "name": level.name,
                "before": _finite(level.before),
                "recorded": _finite(level.recorded),
                "repeated": _finite(level.repeated),
                "same": level.same,
            }
            for level in verdict.levels
        ],
        "ended": verdict.ended,
        "reasons": list(verdict.reasons),
        "seconds": round(seconds, 1),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
