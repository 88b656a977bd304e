"""Plant faults in the settings of the solver and of layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from tools.bench.faults.nets import Net
from tools.bench.faults.planting import Planting, random_of, some_iteration, usual
from tools.bench.faults.training import StartWeights, Training


def schedule(net: Net, seed: int) -> Iterator[Planting]:
    """The schedule multiplies the learning rate by more than 1."""
    random, plain = random_of("schedule", net, seed), usual(net, seed)
    at = some_iteration(random, net)
    policy = {"lr_policy": '"step"', "stepsize": at} if seed % 2 else {"lr_policy": '"multistep"', "stepvalue": at}
    for factor in _ladder(1.5, 1.25, 18):
        what = f"at iteration {at} the schedule multiplies the learning rate by {factor:.3g}"
        raised = plain.with_solver(**policy, gamma=factor)
        yield Planting(what, raised, ("lr-schedule",), (plain,), at, within=60)


def rate(net: Net, seed: int) -> Iterator[Planting]:
    """The learning rate is too high for the net."""
    for plain in _shuffled(net, seed, 12):
        for factor in _ladder(1.2, 1.08, 24):
            what = f"the learning rate is {factor:.3g} times the usual one"
            yield Planting(what, plain.with_solver(base_lr=factor * net.rate), ("learning-rate",), (plain,))


def layer(net: Net, seed: int) -> Iterator[Planting]:
    """The learning rate of one layer is too high."""
    random = random_of("layer", net, seed)
    for plain in _shuffled(net, seed, 12):
        name = str(random.choice(net.layers))
        slow = plain.with_solver(base_lr=0.5 * net.rate)
        for factor in _ladder(3, 1.2, 24):
            what = f"layer {name} has {factor:.3g} times the learning rate of the others"
            fast = Training(net, plain.records, plain.seed, slow.solver, {name: factor})
            yield Planting(what, fast, ("layer-lr",), (slow,), layers=(name,))


def momentum(net: Net, seed: int) -> Iterator[Planting]:
    """The momentum is too high."""
    for plain in _shuffled(net, seed, 6):
        for value in (0.95, 0.97, 0.98, 0.985, 0.99, 0.993, 0.995, 0.997):
            for factor in (0.25, 0.5, 1.0, 1.4):
                twin = plain.with_solver(base_lr=factor * net.rate)
                yield Planting(f"the momentum is {value}", twin.with_solver(momentum=value), ("momentum",), (twin,))


def decay(net: Net, seed: int) -> Iterator[Planting]:
    """The weight decay is too strong, so that nothing passes through the net any more; or its sign is wrong."""
    kinds = ("weight-decay",)
    if seed % 2:
        for plain in _shuffled(net, seed, 4):
            for value in _ladder(0.01, 1.3, 16):
                what = f"the weight decay is {-value:.3g}: the weights grow"
                yield Planting(what, plain.with_solver(weight_decay=f"{-value:.4g}"), kinds, (plain,))
    trained = usual(net, seed + 5000)
    for plain in _shuffled(net, seed, 4):
        for factor in (0.05, 0.1, 0.2):
            twin = replace(plain.with_solver(base_lr=factor * net.rate), start=StartWeights(trained))
            for value in _ladder(0.2, 1.25, 8):
                what = f"the weight decay is {value:.3g}"
                yield Planting(what, twin.with_solver(weight_decay=f"{value:.4g}"), kinds, (twin,))


def _ladder(first: float, factor: float, count: int) -> Sequence[float]:
    return [float(f"{value:.4g}") for value in first * factor ** np.arange(count)]


def _shuffled(net: Net, seed: int, count: int) -> Iterator[Training]:
    """Yield trainings on the same records in other orders: whether and when a setting breaks them depends on that."""
    plain = usual(net, seed)
    for number in range(count):
        order = np.random.default_rng([seed, number]).permutation(len(plain.records))
        keys = [record.key for record in plain.records]
        found = [plain.records[index] for index in order]
        yield Training(net, [r.renamed(key) for r, key in zip(found, keys, strict=True)], 100 * number + seed + 1)
