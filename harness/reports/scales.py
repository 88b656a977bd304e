"""Ticks of logarithmic axes: 1, 10, 100, and 10ⁿ for what has more digits."""

from __future__ import annotations

import math

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PLAIN = range(-3, 5)  # powers of ten that are written out
_MOST = 8


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
