"""Describe the loss before it departed: it swung, or it fell smoothly until the departure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.diagnosis.robust_stats import SIGMA, Floats

# "swings": it went up and down by half and more, again and again, or differed by as much from one batch to the next;
# "smooth": it did neither, and then rose at once.
Course = Literal["swings", "smooth"]

LEVELS = 50  # just before the departure
_FEWEST = 6  # of these
_TURN = math.log(1.5)  # of a loss that turns
_SURE = 4.0  # standard errors of a level
_OFTEN = 4  # turns: down and up, twice
_SMOOTH = 0.25  # share by which a smooth loss may rise
_FEW = 10  # values in a level
_STEADY, _UNSTEADY = 0.3, 0.43  # noise of single losses; at the latter, nine in ten of them differ by a factor of 3


@dataclass(frozen=True)
class Approach:
    """The levels before a departure.

    Attributes:
        levels: how many of them were looked at, each of `width` values.
        start, end: the first and the last of them.
        low, high: nine in ten of all values are above, and below.
        turns: how often they turned by half and more.
        rise: their largest rise above an earlier one, as a share of that.
        noise: a standard deviation of single values about their trend, as a share of that; 0 where
            levels tell more: they are of many values, or each value is a mean.
        took: values from the departure until four fifths of the rise were done.
        at_once: that is as fast as such values can show.
    """

    levels: int
    width: int
    start: float
    end: float
    low: float
    high: float
    turns: int
    rise: float
    noise: float
    took: int
    at_once: bool

    @property
    def course(self) -> Course | None:
        """The course of the loss; None where it is neither."""
        if self.turns >= _OFTEN or self.noise >= _UNSTEADY:
            return "swings"
        return "smooth" if self.rise <= _SMOOTH and self.noise <= _STEADY and self.at_once else None


def approach(before: Floats, after: Floats, width: int, slack: int) -> Approach | None:
    """Describe the losses before a departure; None where they are too few, or not above 0.

    Args:
        before: losses, of which `width` make a level; where that is 1, they are means themselves.
        after: losses from the departure on; a loss that is not finite is as high as can be.
        slack: values that a rise takes to show that happens at once.
    """
    count = min(len(before) // width, LEVELS)
    before = before[len(before) - count * width :]
    if count < _FEWEST or not np.all(before > 0):
        return None
    logs = np.log(before)
    levels = np.median(logs.reshape(count, width), axis=1)
    noise = SIGMA * float(np.median(np.abs(np.diff(logs)))) / math.sqrt(2) if width > 1 else 0.0
    # one display may be high
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(levels, 3), axis=1) if width == 1 else levels
    took = _took(float(np.exp(smooth[-1])), after)
    return Approach(
        levels=count,
        width=width,
        start=float(np.exp(smooth[0])),
        end=float(np.exp(smooth[-1])),
        low=float(np.exp(np.quantile(logs, 0.1))),
        high=float(np.exp(np.quantile(logs, 0.9))),
        turns=turns(levels, max(_TURN, _SURE * 1.25 * noise / math.sqrt(width))),
        rise=float(np.exp(np.max(smooth - np.minimum.accumulate(smooth)))) - 1,
        noise=noise if width < _FEW else 0.0,
        took=took,
        at_once=took <= slack,
    )


def turns(levels: Floats, least: float) -> int:
    """Count how often levels turn: up by more than `least` from the lowest one since the last turn, or down."""
    found, low, high = 0, float(levels[0]), float(levels[0])
    rising: bool | None = None
    for value in levels[1:].tolist():
        low, high = min(low, value), max(high, value)
        up = value > low + least
        if (up and rising is not True) or (value < high - least and rising is not False):
            found, rising = found + 1, up
            low = high = value
    return found


def _took(level: float, after: Floats) -> int:
    """Return the values that a rise from `level` takes to four fifths of where it leads."""
    finite = after[np.isfinite(after)]
    if not len(finite):
        return 1
    end = float(np.median(finite[-max(len(finite) // 2, 1) :]))
    high = ~(after < level + 0.8 * (end - level))
    return int(np.argmax(high)) + 1
