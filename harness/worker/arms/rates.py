"""The learning rates of an arm.

They are computed here, as Caffe does it (lr_policy.py), because a rate cannot follow another schedule from some
iteration on within one solver: it gets `lr_policy: "fixed"`, and `base_lr` is set before each of its steps. Caffe reads
both anew in each (SGDSolver::GetLearningRate), and takes `base_lr` as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from harness.caffe_files.lr_policy import learning_rate, next_step
from harness.caffe_files.messages import pb
from harness.schemas.arm import AnyChange, RateHeld, RateScaled


def rates(
    solver: pb.SolverParameter, first: int, stop: int, step: int, changes: Sequence[AnyChange], end: int
) -> Iterator[float]:
    """Yield the rates of the iterations `first` … `stop` - 1, each a float32.

    An arm may go on where the run had ended. There, a rate of the policy "poly" stays at the 0 to which it has come:
    beyond max_iter, Caffe's formula gives negative ones or NaN.

    Args:
        solver: with its fields changed.
        step: Caffe's current_step before iteration `first`.
        changes: of them, those of the rate act here, in their order.
        end: the iteration before which the run was to end.
    """
    for iteration in range(first, stop):
        step = next_step(solver, iteration, step)
        has_ended = iteration >= end and iteration > solver.max_iter and solver.lr_policy == "poly"
        rate = np.float32(0 if has_ended else learning_rate(solver, iteration, step))
        for change in changes:
            if isinstance(change, RateHeld) and iteration >= change.first:
                rate = np.float32(change.rate)
            elif isinstance(change, RateScaled) and _acts(change, iteration):
                rate = rate * np.float32(change.factor)
        yield float(rate)


def step_at(solver: pb.SolverParameter, first: int, stop: int, step: int) -> int:
    """Return Caffe's current_step before iteration `stop`, from that before iteration `first`."""
    for iteration in range(first, stop):
        step = next_step(solver, iteration, step)
    return step


def _acts(change: RateScaled, iteration: int) -> bool:
    return change.first <= iteration and (change.stop is None or iteration < change.stop)
