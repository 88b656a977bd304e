"""Describe how the loss went before it departed, and what to look at first."""

from __future__ import annotations

from collections.abc import Iterator

from harness.diagnosis.approach import Approach
from harness.reports.text.grammar import count

_LEVEL = 0.1  # share by which a loss has fallen that did not just stay where it was


def course_before(found: Approach, unit: str) -> Iterator[str]:
    """Describe swings, or a smooth course; `unit` is what a value stands for: a display, or an iteration."""
    where = f"In the {count(found.levels * found.width, unit)} before"
    if found.course == "swings":
        often = f"it turned up or down by half or more {found.turns} times, and was" if found.turns > 1 else "it was"
        yield (
            f"{where}, the loss did not settle: {often} mostly between {found.low:.3g} and {found.high:.3g}. Look at "
            "the learning rate and the batch size first."
        )
    elif found.course == "smooth":
        went = f"fell from {found.start:.3g} to {found.end:.3g}"
        if found.end > (1 - _LEVEL) * found.start:
            went = f"stayed near {found.end:.3g}"
        yield (
            f"{where}, the loss {went}, smoothly (it rose by {100 * found.rise:.0f} % at most), and then rose within "
            f"{count(found.took, unit)}. Look at the data first: the records that were read there."
        )
