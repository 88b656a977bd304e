"""Plant a fault: a training with it, and the same training without it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from tools.bench.faults.nets import Net
from tools.bench.faults.training import StartWeights, Training


@dataclass(frozen=True, eq=False)
class Planting:
    """A training with a fault of some strength, which may or may not break it.

    Attributes:
        what: a sentence on what was planted.
        training: with the fault.
        without: the same without it; with two causes, with either of them alone. All must train well.
        parts: the same with a part of the fault, each of which must break as well.
        at: the iteration at which something happens; None where nothing does.
        within: iterations after `at` in which the break must come.
        records: numbers of those that were changed at `at`.
        kinds: the verdicts that are right; with two causes both are to be named, one of them as a condition.
        layers: those that the verdict must name.
        flips: the iteration at about which a bit of a weight is flipped while the run is recorded.
        recovers: it is right if training recovers by itself.
        family: those of a family, one after the other, have ascending strength.
        ladder: where one fault of a ladder breaks the training early, the stronger ones of it are left out.
    """

    what: str
    training: Training
    kinds: tuple[str, ...]
    without: tuple[Training, ...] = ()
    parts: tuple[Training, ...] = ()
    at: int | None = None
    within: int = 30
    records: tuple[int, ...] = ()
    layers: tuple[str, ...] = ()
    flips: int | None = None
    recovers: bool = False
    family: Hashable = None
    ladder: Hashable = None


_OF_WARM_UP = 280  # a seed

Planter = Callable[[Net, int], Iterator[Planting]]  # of ascending strength


def usual(net: Net, seed: int) -> Training:
    """Return a training without a fault."""
    start = StartWeights(_warm_up(net), kept=f"{net.name}.caffemodel") if net.warm_up else None
    return Training(net, net.records(net.iterations * net.batch, seed), seed + 1, start=start)


@cache
def _warm_up(net: Net) -> Training:
    """Return the training whose last weights all others of a net continue from."""
    return Training(
        replace(net, iterations=net.warm_up), net.records(net.warm_up * net.batch, _OF_WARM_UP), _OF_WARM_UP
    )


def fine_tuned(net: Net, seed: int, count: int) -> Iterator[Training]:
    """Yield trainings that continue from the weights of another one, each with the records in another order.

    Whether, and when, a setting breaks a training depends on that order; from its start on, it is healthy.
    """
    plain = usual(net, seed)
    start = plain.start or StartWeights(replace(plain, seed=seed + 5000))
    for training in from_fillers(net, seed, count):
        yield replace(training, start=start)


def from_fillers(net: Net, seed: int, count: int) -> Iterator[Training]:
    """Yield trainings without a fault, each with the records in another order and a seed of its own."""
    plain = usual(net, seed)
    keys = [record.key for record in plain.records]
    for number in range(count):
        order = np.random.default_rng([seed, number]).permutation(len(plain.records))
        found = (plain.records[index] for index in order)
        records = [record.renamed(key) for record, key in zip(found, keys, strict=True)]
        yield replace(plain, records=records, seed=100 * number + seed + 1, start=None)


def random_of(kind: str, net: Net, seed: int) -> np.random.Generator:
    """Return random numbers that belong to a fault alone."""
    return np.random.default_rng([seed, zlib.crc32(f"{kind} {net.name}".encode())])


def some_iteration(random: np.random.Generator, net: Net) -> int:
    """Draw the iteration of an event: late enough to be healthy before it, early enough to see what follows."""
    return int(random.integers(net.iterations * 3 // 8, net.iterations * 5 // 8))
