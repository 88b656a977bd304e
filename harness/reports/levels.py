"""Chance levels of losses, as drawn in figures and pages."""

from __future__ import annotations

from collections.abc import Sequence

from harness.diagnosis.conditions import WeightedHead, chance_loss, total_chance_loss


def chance_levels(heads: Sequence[WeightedHead]) -> list[tuple[float, str]]:
    """Compute the chance level ln(classes) of each head and, where all are known, of the total; each with its label.

    The total comes last. It is left out where it equals a head's level.
    """
    classes = dict.fromkeys(head.classes for head in heads if head.classes)
    levels = [(chance_loss(k), f"chance level {chance_loss(k):.3f} ({k} classes)") for k in classes]
    total = total_chance_loss(heads) if len(heads) > 1 else None
    if total is not None and all(abs(total - level) > 1e-3 for level, _ in levels):
        levels.append((total, f"chance level {total:.3f} (total)"))
    return levels
