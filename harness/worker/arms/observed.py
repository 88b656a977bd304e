"""Observations of one iteration of an arm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Observed:
    """Numbers of one iteration; what they mean is said at ArmResult, whose lists they become."""

    loss: float
    gradient_l2: float
    layer_gradient_l2: Mapping[str, float]
    layer_update_l2: Mapping[str, float]
    outputs: Mapping[str, float]
    blob_peak: Mapping[str, float] = field(default_factory=dict)
    zero_fraction: Mapping[str, float] = field(default_factory=dict)


def by_name(rows: Iterable[Mapping[str, float]]) -> dict[str, tuple[float, ...]]:
    """Turn a mapping for each iteration into a list for each name; all of them have the same names."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in found.items()}
