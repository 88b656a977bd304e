"""Observe an arm at each iteration: loss, outputs, norm of the gradient, and whether all of it is finite."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from harness.caffe_files.messages import pb
from harness.schemas.run_info import DigestKind
from harness.worker.arms.look import Look
from harness.worker.arms.norms import LayerNorms
from harness.worker.arms.observed import Observed
from harness.worker.layer_numbers import layer_numbers
from harness.worker.probes.blobs import LossProbe, OutputProbe, ParamProbe, losses_beside_outputs
from harness.worker.probes.memory import Memory
from harness.worker.pycaffe import Solver
from harness.worker.smoothed_loss import add

_EMPTY = np.float32(np.finfo(np.float32).min)  # what MAX pooling starts from: -FLT_MAX


class NotFinite(Exception):
    """The forward pass has values that are not finite: the backward pass must not be made."""


class Watch:
    """Watches the iterations of `solver`.

    Caffe never releases a callback, so that it must not hold the solver: here they have weak references to this object.

    Args:
        net: the message of its train net.
        heads: names of losses.
        passes: of an iteration.
        on_cpu: Caffe computes on the CPU, where MAX pooling is unsafe (see `_after_forward`).
        looks: look at all blobs after each pass.
        digests: how weights are hashed.

    Attributes:
        params: probe of the learnable blobs.
        loss, gradient_l2: of the last iteration.
    """

    def __init__(
        self,
        solver: Solver,
        net: pb.NetParameter,
        heads: Iterable[str],
        passes: int,
        memory: Memory,
        on_cpu: bool,
        looks: bool,
        digests: DigestKind,
    ) -> None:
        self.params = ParamProbe(solver.net, net, memory, digests)
        self._norms = LayerNorms(self.params)
        self._look = Look(solver.net, net, memory) if looks else None
        others = losses_beside_outputs(solver.net, net, heads)
        self._outputs = OutputProbe(solver.net, memory, others)
        self._loss = LossProbe(solver.net, self._outputs, memory)
        self._memory, self._passes = memory, passes
        self._last = len(solver.net.layers) - 1
        numbers = layer_numbers(solver.net, net)
        self._pooling = {
            numbers[position]: solver.net._blobs[solver.net._top_ids(numbers[position])[0]]
            for position, layer in enumerate(net.layer)
            if on_cpu and _pools_maxima(layer)
        }
        self._names = self._scalars()
        self.begin()
        solver.net.after_forward(_weak(self._after_forward))
        if self._pooling:
            solver.net.before_backward(_weak(self._before_backward))
        solver.add_callback(lambda: None, _weak(self._on_gradients_ready))

    def begin(self) -> None:
        """Prepare for the next iteration."""
        self._sum = np.float32(0)
        self._empty_pool = False
        self.gradient_l2 = math.nan
        self._layer_gradient_l2 = self._layer_update_l2 = self._norms.unknown
        if self._look is not None:
            self._look.begin()

    def complete(self) -> None:
        """Observe the update, after the solver was stepped."""
        self._layer_update_l2 = self._norms.of_layers(self.params.diff_stats()[0])

    @property
    def loss(self) -> float:
        """The weighted total, averaged over the passes as Solver::Step does."""
        return float(self._sum / np.float32(self._passes))

    @property
    def observed(self) -> Observed:
        """The last iteration. Its outputs are those of the last pass."""
        values = self._outputs.values()
        return Observed(
            loss=self.loss,
            gradient_l2=self.gradient_l2,
            layer_gradient_l2=self._layer_gradient_l2,
            layer_update_l2=self._layer_update_l2,
            outputs={name: float(values[column]) for name, column in self._names.items()},
            blob_peak=self._look.peaks if self._look else {},
            zero_fraction=self._look.zero_fractions if self._look else {},
        )

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.gradient_l2)

    def _scalars(self) -> dict[str, int]:
        found, column = {}, 0
        for output in self._outputs.outputs:
            if output.size == 1:
                found[output.name] = column
            column += output.size
        return found

    def _after_forward(self, layer: int) -> None:
        """Note the loss of a pass, and a MAX pooling layer that found no maximum.

        Where all values in a part are NaN, its mask stays -1, and its backward pass writes before its buffer
        (pooling_layer.cpp, Backward_cpu): glibc ends the process some time later.
        """
        if layer in self._pooling:
            top = self._memory.read(self._pooling[layer])
            self._empty_pool |= bool(top.size and top.min() == _EMPTY)
        if layer == self._last:
            self._sum = add(self._sum, self._loss())
            if self._look is not None:
                self._look.add()

    def _before_backward(self, layer: int) -> None:
        if self._empty_pool:
            raise NotFinite

    def _on_gradients_ready(self) -> None:
        norms = self.params.diff_stats()[0]
        self.gradient_l2 = math.sqrt(float(np.square(norms).sum()))
        self._layer_gradient_l2 = self._norms.of_layers(norms)


def _pools_maxima(layer: pb.LayerParameter) -> bool:
    if layer.type == "SPP":
        return layer.spp_param.pool == pb.SPPParameter.MAX
    return layer.type == "Pooling" and layer.pooling_param.pool == pb.PoolingParameter.MAX


def _weak(method: Callable[..., None]) -> Callable[..., None]:
    """Return a function that calls a bound method for as long as its object lives."""
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any) -> None:
        bound = reference()
        if bound is not None:
            bound(*arguments)

    return call
