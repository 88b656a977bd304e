"""Plant faults in the stream of records, from some record on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tools.bench.faults.nets import Net
from tools.bench.faults.planting import Planting, random_of, some_iteration, usual

_RATES = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0)  # times the usual one
_KINDS = ("data-shift",)


def wrong_labels(net: Net, seed: int) -> Iterator[Planting]:
    """The labels of a stretch are wrong: each is that of another class, or any."""
    random, plain = random_of("labels", net, seed), usual(net, seed)
    at = some_iteration(random, net)
    turn = int(random.integers(1, net.classes))
    for stretch in (net.iterations // 10, net.iterations // 5, net.iterations):
        for factor in _RATES:
            twin = plain.with_solver(base_lr=factor * net.rate)
            numbers = range(at * net.batch, min((at + stretch) * net.batch, len(plain.records)))
            if seed % 2:
                any_label = np.random.default_rng(seed).integers(0, net.classes, len(numbers))
                labels = [int(label) for label in any_label]
            else:
                labels = [(plain.records[number].label + turn) % net.classes for number in numbers]
            changed = {
                number: replace(plain.records[number], label=label)
                for number, label in zip(numbers, labels, strict=True)
            }
            how = "drawn at random" if seed % 2 else f"turned by {turn}"
            what = f"the labels of the iterations {at} to {at + len(numbers) // net.batch - 1} are {how}"
            yield Planting(what, twin.with_records(changed), _KINDS, (twin,), at=at, family=stretch)


def units(net: Net, seed: int) -> Iterator[Planting]:
    """From some record on, the values are in other units: larger, or between 0 and 1."""
    random, plain = random_of("units", net, seed), usual(net, seed)
    at = some_iteration(random, net)
    factors = (1 / 255,) if seed % 3 == 2 else (4.0, 8.0, 16.0, 64.0, 256.0)
    for factor in factors:
        for rate in _RATES if factor < 1 else (1.0,):
            twin = plain.with_solver(base_lr=rate * net.rate)
            changed = {n: plain.records[n].scaled(factor) for n in range(at * net.batch, len(plain.records))}
            what = f"from iteration {at} on, all values are {factor:.3g} times as large"
            yield Planting(what, twin.with_records(changed), _KINDS, (twin,), at=at)


def sorted_stretch(net: Net, seed: int) -> Iterator[Planting]:
    """A stretch of records is sorted by class."""
    random, plain = random_of("sorted", net, seed), usual(net, seed)
    at = some_iteration(random, net)
    for stretch in (net.iterations // 5, net.iterations):
        for factor in _RATES:
            twin = plain.with_solver(base_lr=factor * net.rate)
            numbers = range(at * net.batch, min((at + stretch) * net.batch, len(plain.records)))
            ordered = sorted((plain.records[number] for number in numbers), key=lambda record: record.label)
            changed = {
                number: replace(record, key=plain.records[number].key)
                for number, record in zip(numbers, ordered, strict=True)
            }
            what = f"the records of the iterations {at} to {at + len(numbers) // net.batch - 1} are sorted by class"
            yield Planting(what, twin.with_records(changed), _KINDS, (twin,), at=at, within=60, family=stretch)
