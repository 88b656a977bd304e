"""Scales of axes, and ticks of logarithmic ones: 1, 10, 100, and 10ⁿ for what has more digits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

TICKS = 5  # of a small plot
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PLAIN = range(-3, 5)  # powers of ten that are written out
_MOST = 8
_MARGIN = 0.06  # of an axis, on both sides of what is drawn
_TINY = 1e-300  # stands for what is not above 0 on a logarithmic scale


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`; where it `is_log`, these are decimal logarithms."""

    low: float
    high: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """Return where `value` is, in percent from `low`, limited to the axis."""
        scaled = float(np.log10(max(value, _TINY))) if self.is_log else value
        return round(float(np.clip(100 * (scaled - self.low) / (self.high - self.low), 0, 100)), 2)

    def down(self, value: float) -> float:
        """Return where `value` is on an upright axis, in percent from its top."""
        return round(100 - self.at(value), 2)

    def holds(self, value: float) -> bool:
        """Check whether `value` is on the axis."""
        scaled = float(np.log10(max(value, _TINY))) if self.is_log else value
        return self.low <= scaled <= self.high

    def ticks(self, most: int = TICKS, *, whole: bool = False) -> list[tuple[float, str]]:
        """Choose about `most` values to label, with their texts."""
        if self.is_log:
            found = log_ticks(10**self.low, 10**self.high)
            return found[:: -(-len(found) // (most + 1))] if found else []
        values = map(float, MaxNLocator(most, integer=whole).tick_values(self.low, self.high))
        return [(value, f"{value:,.0f}" if whole else f"{value:g}") for value in values if self.holds(value)]


def scale_of(values: npt.NDArray[np.float64], decades: float) -> Scale:
    """Choose an axis for finite `values`: logarithmic where they are above 0 and span more than that many decades."""
    low, high = float(values.min()), float(values.max())
    is_log = low > 0 and bool(np.log10(high / low) > decades)
    if is_log:
        low, high = float(np.log10(low)), float(np.log10(high))
    room = _MARGIN * (high - low) or max(1e-6, 0.1 * abs(high))
    return Scale(low - room, high + room, is_log)


def power_of_ten(power: int) -> str:
    """Write 10^power: `0.01`, `1,000`, `10⁻⁷`."""
    if power not in _PLAIN:
        return f"10{str(power).translate(_SUPERSCRIPTS)}"
    return f"{10**power:,}" if power >= 0 else f"{10**power:.{-power}f}"


def log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Choose the ticks of a logarithmic axis from `low` to `high` (both above 0), with their texts.

    They are powers of ten; within fewer than two decades also 2 and 5 times these.
    """
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first >= 1:
        step = math.ceil((last - first + 1) / _MOST)
        return [(10.0**power, power_of_ten(power)) for power in range(first, last + 1, step)]
    values = [m * 10.0**power for power in range(first - 2, last + 2) for m in (1, 2, 5)]
    return [(value, _plain(value)) for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def _plain(value: float) -> str:
    power = math.floor(math.log10(value) + 1e-9)
    if power in _PLAIN:
        return f"{value:,.{max(0, -power)}f}"
    factor = round(value / 10.0**power)
    return power_of_ten(power) if factor == 1 else f"{factor}·{power_of_ten(power)}"
