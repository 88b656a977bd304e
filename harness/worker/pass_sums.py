"""Sums over forward passes: the outputs in a test pass, and the losses in the `iter_size` passes of an iteration."""

from __future__ import annotations

import numpy as np

from harness.worker.probes.blobs import LossProbe, OutputProbe
from harness.worker.probes.memory import Memory
from harness.worker.pycaffe import Floats, Net
from harness.worker.smoothed_loss import add


class TestPass:
    """Adds up the outputs of one test net over the forwards of a test pass, as Solver::Test does in float32."""

    def __init__(self, net: Net, memory: Memory) -> None:
        self.probe = OutputProbe(net, memory)
        self.forwards = 0
        self._last = len(net.layers) - 1
        self._sum: Floats = np.zeros(0, np.float32)
        net.after_forward(self._after_layer)

    def _after_layer(self, layer: int) -> None:
        if layer == self._last:
            values = self.probe.values()
            self._sum = self._sum + values if self.forwards else values
            self.forwards += 1

    def take_mean(self) -> Floats:
        """Compute the mean of a test pass that is over, and start the next one from 0."""
        mean = self._sum / np.float32(self.forwards)
        self.forwards = 0
        return mean


class PassLosses:
    """Adds up the losses of the `iter_size` forward passes of one iteration."""

    def __init__(self, net: Net, loss: LossProbe) -> None:
        self._loss = loss
        self._sum = np.float32(0)
        self._last = len(net.layers) - 1
        net.after_forward(self._after_layer)

    def _after_layer(self, layer: int) -> None:
        if layer == self._last:
            self._sum = add(self._sum, self._loss())

    def mean(self, passes: int) -> np.float32:
        """Compute their sum over `passes`, as Solver::Step does; the next iteration starts from 0."""
        mean, self._sum = self._sum / np.float32(passes), np.float32(0)
        return mean
