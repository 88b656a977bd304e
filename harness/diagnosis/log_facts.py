"""What is known of a run beside its log: from the prototxt that Caffe prints, and from the user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.schemas.layout import Head


@dataclass(frozen=True)
class Facts:
    """Fields of the solver, the train net's losses, and its data. None: not known.

    Args:
        display: iterations between two displays; 0 where the solver displays nothing.
        average_loss: the displayed loss is the mean of so many (SmoothedLoss).
        policy: lr_policy.
        rate: the learning rate that the solver gives at an iteration.
        heads: losses of the train net; empty where the log does not hold the net.
        batch: records that one forward pass reads.
        classes: what the user says of every head whose classes the net does not tell.
        images: records of the training data.
    """

    display: int | None = None
    average_loss: int | None = None
    iter_size: int | None = None
    max_iter: int | None = None
    policy: str | None = None
    rate: Callable[[int], float] | None = None
    heads: tuple[Head, ...] = ()
    batch: int | None = None
    classes: int | None = None
    images: int | None = None
