"""The rows of the results, the effort spent on one, and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tools.bench.turns import Comparison


@dataclass(frozen=True)
class Row:
    """One figure and its bound, if it has one. `low` and `high` enclose the true median (95 %)."""

    name: str
    what: str
    value: float
    unit: str
    bound: float | None = None
    at_most: bool = True
    low: float | None = None
    high: float | None = None
    detail: str = ""
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        if self.bound is None:
            return True
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    @property
    def verdict(self) -> str:
        """`NO` if the pairs show it, `NO?` if their scatter leaves the bound open."""
        if self.bound is None:
            return ""
        best = self.low if self.at_most else self.high
        unclear = best is not None and (best <= self.bound if self.at_most else best >= self.bound)
        return "yes" if self.holds else "NO?" if unclear else "NO"


@dataclass(frozen=True)
class Effort:
    """The effort to spend: pairs per row, or a fifth of the default pairs and turns (`quick`).

    `against` is another checkout, whose cost of recording is measured in the same run.
    """

    pairs: int | None = None
    quick: bool = False
    priority: int = 0
    against: Path | None = None

    def of(self, pairs: int) -> int:
        """Return the number of pairs of a row whose default is `pairs`."""
        return self.pairs or (max(2, pairs // 5) if self.quick else pairs)

    def turn(self, iterations: int) -> int:
        """Return the iterations of a turn of which the default has `iterations`."""
        return max(1, iterations // 5) if self.quick else iterations


def median(values: Sequence[float]) -> tuple[float, float, float]:
    """Return low, median and high: the order statistics low and high enclose the true median 19 times out of 20."""
    ordered = sorted(values)
    skip = max(0, int(len(ordered) / 2 - 0.98 * len(ordered) ** 0.5))
    return ordered[skip], float(np.median(ordered)), ordered[-1 - skip]


def ratio_row(name: str, what: str, bound: float | None, compared: Comparison, bare: str = "bare") -> Row:
    """Make a row of the ratios of a comparison; `bare` is the name of its first lane."""
    ratios = compared.ratios
    low, value, high = median(ratios)
    each = 1000 * float(np.median(compared.bare)) / compared.turn
    detail = (
        f"{bare} {each:.1f} ms an iteration; {len(ratios)} pairs of {compared.turn}; two {bare} turns differ by "
        f"{compared.noise:.1%}; CPU time ×{compared.harness_cpu / compared.bare_cpu:.3f}"
    )
    if compared.supervisor_cpu:
        beside = 1000 * compared.supervisor_cpu / (len(ratios) * compared.turn)
        detail += f", {beside:.2f} s in 1,000 iterations beside the worker"
    return Row(name, what, value, f"× {bare}", bound, True, low, high, detail, asdict(compared))
