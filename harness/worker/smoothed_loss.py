"""Losses added up as Caffe adds them, and the smoothed loss that `caffe train` displays."""

from __future__ import annotations

import numpy as np

_F = np.float32


def add(first: np.float32, second: np.float32) -> np.float32:
    """Add two numbers as Caffe's code on x86-64 does: of two NaNs the first remains, with its sign (ADDSS).

    NumPy may exchange the two.
    """
    return first if np.isnan(first) else first + second


class SmoothedLoss:
    """Solver::UpdateSmoothedLoss (solver.cpp), operation for operation in float32, over a whole training.

    Caffe itself discards this state at every call of Step, so under step(1) it displays the plain loss.
    """

    def __init__(self, average_loss: int, start_iteration: int) -> None:
        self._size = average_loss
        self._start = start_iteration
        self._losses: list[np.float32] = []
        self._smoothed = _F(0)

    def update(self, iteration: int, loss: np.float32) -> np.float32:
        """Add the loss of `iteration`, and return the smoothed loss."""
        if len(self._losses) < self._size:
            self._losses.append(loss)
            size = len(self._losses)
            self._smoothed = add(self._smoothed * _F(size - 1), loss) / _F(size)
        else:
            at = (iteration - self._start) % self._size
            self._smoothed = add((loss - self._losses[at]) / _F(self._size), self._smoothed)  # in this order
            self._losses[at] = loss
        return self._smoothed
