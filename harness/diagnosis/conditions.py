"""The conditions in which a net no longer trains, their names, and the losses that show them.

The names are public: verdicts are printed by `readlog --json`, rule names are in recordings and in thresholds.toml.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Literal, Protocol

import numpy as np

# The verdict on a run of a log.
Verdict = Literal["healthy", "uniform-softmax", "saturated-softmax", "nan", "drift/oscillation", "unknown"]
# The state of one loss of a log.
HeadState = Literal["learning", "uniform", "saturated", "nan", "unknown"]
# The state of a recorded run at its end.
Status = Literal["nothing", "healthy", "never learned", "uniform", "saturated", "not finite", "diverged"]


class Condition(Enum):
    """A condition in which a net no longer trains, with its name as a rule, a verdict, a state of a head, and a status.

    UNIFORM: a head gives every class the same probability, whatever its input: its loss is at chance level.
    SATURATED: a head gives the true class probability 0: its loss is the largest that Caffe counts.
    NON_FINITE: there is NaN or infinity in a loss, a weight, a gradient or an activation.
    """

    UNIFORM = "uniform_collapse", "uniform-softmax", "uniform", "uniform"
    SATURATED = "saturated_softmax", "saturated-softmax", "saturated", "saturated"
    NON_FINITE = "non_finite", "nan", "nan", "not finite"

    def __init__(self, rule: str, verdict: Verdict, head_state: HeadState, status: Status) -> None:
        self.rule = rule
        self.verdict: Verdict = verdict
        self.head_state: HeadState = head_state
        self.status: Status = status

    @classmethod
    def of_head(cls, state: HeadState) -> Condition | None:
        """Return the condition of a head in `state`; None where it is in none of them."""
        return next((condition for condition in cls if condition.head_state == state), None)


# 87.3365, the largest loss that Caffe counts for a record: SoftmaxWithLossLayer::Forward_cpu takes the logarithm of
# max(probability, FLT_MIN), in float32 (softmax_loss_layer.cpp).
MAX_LOSS = -float(np.log(np.finfo(np.float32).tiny))


class WeightedHead(Protocol):
    """A loss of a net: its weight in the total and its number of classes, None where that is not known."""

    @property
    def weight(self) -> float: ...

    @property
    def classes(self) -> int | None: ...


def chance_loss(classes: int) -> float:
    """Compute the chance level of a softmax loss: that of equal probability for all classes."""
    return math.log(classes)


def total_chance_loss(heads: Sequence[WeightedHead]) -> float | None:
    """Compute the chance level of a total loss, Σ weight · ln(classes); None if the classes of a head are not known."""
    parts = [head.weight * chance_loss(head.classes) for head in heads if head.classes]
    return sum(parts) if parts and len(parts) == len(heads) else None
