"""Plant faults in the settings of the solver and of layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from tools.bench.faults.nets import Net
from tools.bench.faults.planting import Planting, fine_tuned, from_fillers, random_of, some_iteration, usual

_ORDERS = 10  # of the records; in some of them a setting breaks a training after it has been healthy for long


def schedule(net: Net, seed: int) -> Iterator[Planting]:
    """The schedule multiplies the learning rate by more than 1."""
    random, plain = random_of("schedule", net, seed), usual(net, seed)
    at = some_iteration(random, net)
    policy = {"lr_policy": '"step"', "stepsize": at} if seed % 2 else {"lr_policy": '"multistep"', "stepvalue": at}
    for factor in _ladder(1.5, 1.25, 18):
        what = f"at iteration {at} the schedule multiplies the learning rate by {factor:.3g}"
        raised = plain.with_solver(**policy, gamma=factor)
        yield Planting(what, raised, ("lr-schedule",), (plain,), at=at, within=60)


def rate(net: Net, seed: int) -> Iterator[Planting]:
    """The learning rate is too high for the net."""
    for plain in fine_tuned(net, seed, _ORDERS):
        for factor in _ladder(net.edge, 1.1, 22):
            what = f"the learning rate is {factor:.3g} times the usual one"
            fast = plain.with_solver(base_lr=factor * net.rate)
            yield Planting(what, fast, ("learning-rate",), (plain,), ladder=plain.seed)


def layer(net: Net, seed: int) -> Iterator[Planting]:
    """The learning rate of one layer is too high."""
    random = random_of("layer", net, seed)
    learns = net.breaks_while_learning
    for plain in from_fillers(net, seed, _ORDERS) if learns else fine_tuned(net, seed, _ORDERS):
        name = str(random.choice(learns or net.layers))
        twin = plain.with_solver(base_lr=(2 if learns else 0.5) * net.rate)
        for factor in _ladder(15, 1.12, 14) if learns else _ladder(5, 1.12, 40):
            what = f"layer {name} has {factor:.3g} times the learning rate of the others"
            fast = replace(twin, factors={name: factor})
            yield Planting(what, fast, ("layer-lr",), (twin,), layers=(name,), ladder=plain.seed)


def momentum(net: Net, seed: int) -> Iterator[Planting]:
    """The momentum is too high."""
    for plain in fine_tuned(net, seed, _ORDERS):
        for factor in (0.25, 0.5, 1.0):
            twin = plain.with_solver(base_lr=factor * net.rate)
            for value in (0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.993, 0.995, 0.997):
                fault = twin.with_solver(momentum=value)
                what = f"the momentum is {value}"
                yield Planting(what, fault, ("momentum",), (twin,), ladder=(plain.seed, factor))


def decay(net: Net, seed: int) -> Iterator[Planting]:
    """The weight decay is too strong, so that nothing passes through the net any more; or its sign is wrong."""
    kinds = ("weight-decay",)
    if seed % 3 != 2:
        for plain in fine_tuned(net, seed, 4):
            for value in _ladder(0.01, 1.3, 16):
                what = f"the weight decay is {-value:.3g}: the weights grow"
                growing = plain.with_solver(weight_decay=f"{-value:.4g}")
                yield Planting(what, growing, kinds, (plain,), family=plain.seed)
    for plain in fine_tuned(net, seed, 4):
        for factor in (0.05, 0.1, 0.2):
            twin = plain.with_solver(base_lr=factor * net.rate)
            for value in _ladder(0.2, 1.25, 8):
                what = f"the weight decay is {value:.3g}"
                decaying = twin.with_solver(weight_decay=f"{value:.4g}")
                yield Planting(what, decaying, kinds, (twin,), family=(plain.seed, factor))


def _ladder(first: float, factor: float, count: int) -> Sequence[float]:
    return [float(f"{value:.4g}") for value in first * factor ** np.arange(count)]
