"""A small curve of a loss, drawn as SVG in a page without scripts; HTML around it labels its axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from harness.diagnosis.recorded.thinning import extremes
from harness.reports.scales import log_ticks

_POINTS = 600  # of the curve, at most
_TICKS = 5
_MARGIN = 0.06  # of the height, above and below the curve
_DECADES = 2.5  # from which on the scale is logarithmic


@dataclass(frozen=True)
class Tick:
    """A label beside an axis, at `at` percent of its length from the left or from the top."""

    at: float
    text: str


@dataclass(frozen=True)
class LossCurve:
    """A curve in a box of 100 × 100, y downwards.

    Attributes:
        lines: the points of each stretch of finite losses, for SVG polylines.
        across: ticks of the iterations.
        down: ticks of the loss.
        onset: where the onset is, in percent from the left; None without one.
        span: from where to where the capsule's own iterations reach, likewise.
        chance: the chance level, from the top; None where it is not known or outside.
        is_log: the scale of the loss is logarithmic.
    """

    lines: tuple[str, ...]
    across: tuple[Tick, ...]
    down: tuple[Tick, ...]
    onset: float | None
    span: tuple[float, float]
    chance: float | None
    is_log: bool


def loss_curve(
    iterations: npt.NDArray[np.int64],
    losses: npt.NDArray[np.float64],
    first: int,
    onset: int | None,
    chance: float | None,
) -> LossCurve | None:
    """Draw the `losses` (T,) of `iterations` (T,); None if fewer than two are finite.

    Args:
        first: the first iteration of the capsule.
        chance: the chance level of the loss, if it is known.
    """
    finite = np.isfinite(losses)
    values = losses[finite]
    if len(values) < 2:
        return None
    low, high = float(values.min()), float(values.max())
    is_log = low > 0 and bool(np.log10(high / low) > _DECADES)
    scaled = np.log10(np.where(finite, losses, 1.0)) if is_log else np.where(finite, losses, 0.0)
    bottom, top = _padded(float(scaled[finite].min()), float(scaled[finite].max()))
    begin, end = int(iterations[0]), max(int(iterations[-1]), int(iterations[0]) + 1)

    def x(iteration: float) -> float:
        return round(100 * (iteration - begin) / (end - begin), 2)

    def y(value: float) -> float:
        return round(100 * (top - value) / (top - bottom), 2)

    rows = extremes(losses, _POINTS)
    lines = tuple(
        " ".join(f"{x(float(iterations[row])):g},{y(float(scaled[row])):g}" for row in stretch)
        for stretch in _stretches(rows, finite)
    )
    if is_log:
        down = tuple(Tick(y(float(np.log10(value))), text) for value, text in log_ticks(10**bottom, 10**top))
    else:
        ticks = MaxNLocator(_TICKS).tick_values(bottom, top)
        down = tuple(Tick(y(value), f"{value:g}") for value in map(float, ticks) if bottom <= value <= top)
    at = None if chance is None or (is_log and chance <= 0) else y(float(np.log10(chance)) if is_log else chance)
    return LossCurve(
        lines=lines,
        across=tuple(
            Tick(x(value), f"{value:,.0f}")
            for value in map(float, MaxNLocator(_TICKS, integer=True).tick_values(begin, end))
            if begin <= value <= end
        ),
        down=down,
        onset=None if onset is None else x(onset),
        span=(x(first), 100.0),
        chance=at if at is not None and 0 <= at <= 100 else None,
        is_log=is_log,
    )


def _padded(low: float, high: float) -> tuple[float, float]:
    room = _MARGIN * (high - low) or max(1e-6, 0.1 * abs(high))
    return low - room, high + room


def _stretches(rows: npt.NDArray[np.intp], finite: npt.NDArray[np.bool_]) -> Iterator[Sequence[int]]:
    """Yield the rows between values that are not finite."""
    stretch: list[int] = []
    for row in rows.tolist():
        if finite[row]:
            stretch.append(row)
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch
