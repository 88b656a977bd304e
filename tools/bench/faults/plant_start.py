"""Plant faults in what training starts from, and in the memory of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tools.bench.faults.nets import Net
from tools.bench.faults.planting import Planting, fine_tuned, random_of, some_iteration, usual


def start_weights(net: Net, seed: int) -> Iterator[Planting]:
    """The weights of two layers were rescaled against each other."""
    random = random_of("start", net, seed)
    for plain in fine_tuned(net, seed, 12):
        assert plain.start is not None
        larger, smaller = (str(name) for name in random.choice(net.layers, 2, replace=False))
        for factor in 1.5 * 1.06 ** np.arange(30):
            start = replace(plain.start, factors={larger: float(factor), smaller: 1 / float(factor)})
            what = (
                f"training starts from weights of which those of {larger} were multiplied by {factor:.3g} and those of "
                f"{smaller} divided by it"
            )
            yield Planting(what, replace(plain, start=start), ("start-weights",), (plain,), ladder=plain.seed)


def bit_flip(net: Net, seed: int) -> Iterator[Planting]:
    """A bit of a weight changes in the memory of the process that trains."""
    random, plain = random_of("machine", net, seed), usual(net, seed)
    what = "the highest bit of the exponent of a weight is flipped once in the memory of the process"
    yield Planting(what, plain, ("machine",), flips=some_iteration(random, net))
