"""Chance levels of losses, as drawn in figures and pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol


class _Head(Protocol):
    @property
    def weight(self) -> float: ...

    @property
    def classes(self) -> int | None: ...


def chance_levels(heads: Sequence[_Head]) -> list[tuple[float, str]]:
    """Compute the chance level ln(classes) of each head and, where all are known, of the total; each with its label.

    The total comes last. It is left out where it equals a head's level.
    """
    classes = [head.classes for head in heads if head.classes]
    levels = [(math.log(k), f"ln {k} = {math.log(k):.3f}") for k in dict.fromkeys(classes)]
    if len(classes) == len(heads) > 1:
        total = sum(head.weight * math.log(head.classes or 1) for head in heads)
        if all(abs(total - level) > 1e-3 for level, _ in levels):
            levels.append((total, f"all heads at chance: {total:.3f}"))
    return levels
