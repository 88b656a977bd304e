"""The curve of a loss on the page of a capsule."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.reports.html.plot import Line, Plot, Rule, Span, across, curves, upwards
from harness.reports.scales import Scale, scale_of

_POINTS = 600  # of the curve, at most
_DECADES = 2.5  # from which on the scale is logarithmic


def loss_curve(
    iterations: npt.NDArray[np.int64],
    losses: npt.NDArray[np.float64],
    first: int,
    onset: int | None,
    chance: float | None,
) -> Plot | None:
    """Draw the `losses` (T,) of `iterations` (T,); None if fewer than two are finite.

    Args:
        first: the first iteration of the capsule.
        onset: of the divergence, if there is one.
        chance: the chance level of the loss, if it is known.
    """
    finite = losses[np.isfinite(losses)]
    if len(finite) < 2:
        return None
    x = Scale(int(iterations[0]), max(int(iterations[-1]), int(iterations[0]) + 1))
    y = scale_of(finite, _DECADES)
    return Plot(
        lines=tuple(Line(points) for points in curves(x, y, iterations, losses, _POINTS)),
        across=across(x),
        down=upwards(y),
        moments=() if onset is None else (Rule(x.at(onset), "onset"),),
        levels=() if chance is None or not y.holds(chance) else (Rule(y.down(chance), "chance"),),
        spans=(Span(x.at(first), 100.0, "window"),),
        is_log=y.is_log,
    )
