"""Curves of losses, drawn as bars in a line of text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

_BARS = "▁▂▃▄▅▆▇█"
_NOT_FINITE = "×"
WIDTH = 24  # characters of a curve, at the most

Curve = tuple[float | None, ...]  # losses; None where not finite


def curve_of(losses: Iterable[float]) -> Curve:
    """Return losses as a curve."""
    return tuple(loss if math.isfinite(loss) else None for loss in losses)


def sparkline(curve: Sequence[float | None], low: float, high: float, width: int = WIDTH) -> str:
    """Draw losses as `width` bars at most, between the levels `low` and `high`; several share one if they are more."""
    if not curve:
        return ""
    per = max(1, math.ceil(len(curve) / width))
    parts = [curve[start : start + per] for start in range(0, len(curve), per)]
    return "".join(_bar(part, low, high) for part in parts)


def _bar(values: Sequence[float | None], low: float, high: float) -> str:
    finite = [value for value in values if value is not None]
    if len(finite) < len(values):
        return _NOT_FINITE
    share = (sum(finite) / len(finite) - low) / ((high - low) or 1.0)
    return _BARS[min(len(_BARS) - 1, max(0, round(share * (len(_BARS) - 1))))]
