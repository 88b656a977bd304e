"""Small plots that a page draws as SVG, without scripts; HTML around them labels their axes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.diagnosis.recorded.thinning import extremes
from harness.reports.scales import TICKS, Scale


@dataclass(frozen=True)
class Tick:
    """A label beside an axis, at `at` percent of its length from the left or from the top."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """The points of an SVG polyline; `kind` is its class in the style sheet."""

    points: str
    kind: str = ""


@dataclass(frozen=True)
class Rule:
    """A straight line from side to side, at `at` percent; `kind` is its class in the style sheet."""

    at: float
    kind: str


@dataclass(frozen=True)
class Span:
    """A stretch of the x axis in percent; `kind` is its class in the style sheet."""

    first: float
    last: float
    kind: str


@dataclass(frozen=True)
class Mark:
    """A letter in a plot, in percent from the left and from the top, and what it says in words."""

    x: float
    y: float
    kind: str
    letter: str
    text: str


@dataclass(frozen=True)
class Plot:
    """What is drawn in a box of 100 × 100, y downwards.

    Attributes:
        across, down: ticks of the two axes.
        moments: vertical lines.
        levels: horizontal lines.
        is_log: the y axis is logarithmic.
    """

    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    down: tuple[Tick, ...]
    moments: tuple[Rule, ...] = ()
    levels: tuple[Rule, ...] = ()
    spans: tuple[Span, ...] = ()
    marks: tuple[Mark, ...] = ()
    is_log: bool = False


def across(x: Scale, most: int = TICKS) -> tuple[Tick, ...]:
    """Label a horizontal axis of whole numbers."""
    return tuple(Tick(x.at(value), text) for value, text in x.ticks(most, whole=True))


def upwards(y: Scale, most: int = TICKS) -> tuple[Tick, ...]:
    """Label an upright axis."""
    return tuple(Tick(y.down(value), text) for value, text in y.ticks(most))


def curves(
    x: Scale, y: Scale, iterations: npt.NDArray[np.int64], losses: npt.NDArray[np.float64], most: int
) -> Iterator[str]:
    """Yield the points of each stretch of finite `losses` (T,), as many as `most` in all."""
    finite = np.isfinite(losses)
    for stretch in _stretches(extremes(losses, most).tolist(), finite):
        yield " ".join(f"{x.at(float(iterations[row])):g},{y.down(float(losses[row])):g}" for row in stretch)


def _stretches(rows: Iterable[int], finite: npt.NDArray[np.bool_]) -> Iterator[Sequence[int]]:
    """Yield the rows between values that are not finite."""
    stretch: list[int] = []
    for row in rows:
        if finite[row]:
            stretch.append(row)
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch
