"""Read the limits of the rules from `diagnosis/thresholds.toml`, and from a user's copy of it."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from harness.errors import BadInput, nearest

DEFAULTS = Path(__file__).parents[1] / "thresholds.toml"


@dataclass(frozen=True)
class Rule:
    """The limits of every rule: whether it is applied, and whether what it finds is a divergence."""

    enabled: bool
    stops: bool


@dataclass(frozen=True)
class LossJump(Rule):
    """The limits of `loss_jump`."""

    window: int
    ignorance: float
    sigmas: float
    iterations: int
    level: int
    rise: float


@dataclass(frozen=True)
class UniformCollapse(Rule):
    """The limits of `uniform_collapse`."""

    within: float
    learned: float
    iterations: int


@dataclass(frozen=True)
class SaturatedSoftmax(Rule):
    """The limits of `saturated_softmax`."""

    share: float
    iterations: int


@dataclass(frozen=True)
class InputRange(Rule):
    """The limits of `input_range`."""

    factor: float


@dataclass(frozen=True)
class LabelRuns(Rule):
    """The limits of `label_runs`."""

    surprise: float


@dataclass(frozen=True)
class LabelTrend(Rule):
    """The limits of `label_trend`."""

    share: float


@dataclass(frozen=True)
class FarGradient(Rule):
    """The limits of `gradient_explosion` and `vanishing_gradient`."""

    window: int
    factor: float
    iterations: int


@dataclass(frozen=True)
class DeadRelu(Rule):
    """The limits of `dead_relu`."""

    zeros: float


@dataclass(frozen=True)
class WeightUpdateRatio(Rule):
    """The limits of `weight_update_ratio`."""

    largest: float
    after: int
    iterations: int


@dataclass(frozen=True)
class LossNotDecreasing(Rule):
    """The limits of `loss_not_decreasing`."""

    iterations: int
    fall: float


@dataclass(frozen=True)
class LrJump(Rule):
    """The limits of `lr_jump`."""

    factor: float


@dataclass(frozen=True)
class Limits:
    """The limits of each rule; `thresholds.toml` explains them, and gives their sources."""

    loss_jump: LossJump
    loss_spike: Rule
    uniform_collapse: UniformCollapse
    saturated_softmax: SaturatedSoftmax
    non_finite: Rule
    input_range: InputRange
    label_runs: LabelRuns
    label_trend: LabelTrend
    gradient_explosion: FarGradient
    vanishing_gradient: FarGradient
    dead_relu: DeadRelu
    weight_update_ratio: WeightUpdateRatio
    loss_not_decreasing: LossNotDecreasing
    lr_jump: LrJump

    def of(self, rule: str) -> Rule:
        """Return the limits of a rule by its name."""
        limits = getattr(self, rule)
        assert isinstance(limits, Rule)
        return limits

    def stops(self, rule: str) -> bool:
        """Check whether what a rule finds is a divergence."""
        return self.of(rule).stops


_KINDS: dict[str, type[Rule]] = get_type_hints(Limits)


def read_limits(path: Path | None = None) -> Limits:
    """Read the limits in `thresholds.toml`, with the changes in the file `path`.

    Raises:
        BadInput: the file cannot be read; a rule or a field is unknown; a value has another type, or is not positive.
    """
    rules = {name: _KINDS[name](**table) for name, table in _tables(DEFAULTS).items()}
    for name, table in (_tables(path) if path else {}).items():
        if name not in rules or not isinstance(table, dict):
            raise BadInput("no such rule", file=path, field=name, remedy=nearest(name, rules))
        for field, value in table.items():
            _check(path, name, field, value, rules[name])
        rules[name] = replace(rules[name], **table)
    return Limits(**rules)  # type: ignore[arg-type]


def _tables(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot be read ({error})", file=path, remedy=f"Start from a copy of {DEFAULTS}") from error


def _check(path: Path | None, rule: str, field: str, value: object, old: Rule) -> None:
    """Check that a limit exists, and that a value has its type and is positive."""
    names = [f.name for f in fields(old)]
    where = f"{rule}.{field}"
    if field not in names:
        raise BadInput("no such limit", file=path, field=where, remedy=nearest(field, names))
    was = getattr(old, field)
    number = not isinstance(value, bool) and (
        (isinstance(value, int) and value > 0) or (isinstance(value, float) and math.isfinite(value) and value > 0)
    )
    if isinstance(was, bool):
        fits, wanted = isinstance(value, bool), "true or false"
    elif isinstance(was, int):
        fits, wanted = number and isinstance(value, int), "a whole number above 0"
    else:
        fits, wanted = number, "a number above 0"
    if not fits:
        raise BadInput("does not fit", file=path, field=where, value=value, remedy=f"Give {wanted}")
