"""Plant faults in records of one or two batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tools.bench.faults.data import Record
from tools.bench.faults.nets import Net
from tools.bench.faults.planting import Planting, random_of, some_iteration, usual

_FACTORS = tuple(2.0**power for power in range(3, 15))
_KINDS = ("record",)


def unscaled(net: Net, seed: int) -> Iterator[Planting]:
    """Some records of a batch come from a scanner of 12 or 16 bits, and were stored as they were read."""
    random, plain = random_of("unscaled", net, seed), usual(net, seed)
    at = some_iteration(random, net)
    order = at * net.batch + random.permutation(net.batch)
    first = int(random.integers(2, 6))
    for factor, bits in ((16, 12), (256, 16)):
        for count in range(first, net.batch * 3 // 4 + 1, 2):
            chosen = tuple(sorted(int(number) for number in order[:count]))
            changed = {number: plain.records[number].scaled(factor) for number in chosen}
            what = f"{count} of {net.batch} records of iteration {at} are stored with {bits} bits"
            yield Planting(what, plain.with_records(changed), _KINDS, (plain,), at=at, records=chosen)


def outlier(net: Net, seed: int) -> Iterator[Planting]:
    """One record has far larger values than all others."""
    random, plain = random_of("outlier", net, seed), usual(net, seed)
    at = some_iteration(random, net)
    number = at * net.batch + int(random.integers(net.batch))
    wrong = int(random.integers(net.classes)) if seed % 2 else plain.records[number].label
    for factor in _FACTORS:
        record = replace(plain.records[number].scaled(factor), label=wrong)
        what = f"one record of iteration {at} has values {factor:g} times as large"
        yield Planting(what, plain.with_records({number: record}), _KINDS, (plain,), at=at, records=(number,))


def nan_pixel(net: Net, seed: int) -> Iterator[Planting]:
    """One pixel of one record is not a number."""
    random, plain = random_of("nan", net, seed), usual(net, seed)
    at = some_iteration(random, net)
    number = at * net.batch + int(random.integers(net.batch))
    image = plain.records[number].image.astype(np.float32)
    row, column = random.integers(4, 12, 2)
    image[0, row, column] = np.nan
    what = f"a pixel of one record of iteration {at} is NaN"
    changed = {number: replace(plain.records[number], image=image)}
    yield Planting(what, plain.with_records(changed), _KINDS, (plain,), at=at, records=(number,))


def two_batches(net: Net, seed: int) -> Iterator[Planting]:
    """Records of two batches in a row have far larger values: without the first batch it breaks as well."""
    random, plain = random_of("two-batches", net, seed), usual(net, seed)
    at = some_iteration(random, net)
    chosen = tuple(
        (at + batch) * net.batch + int(place)
        for batch in range(2)
        for place in sorted(random.choice(net.batch, int(random.integers(1, 4)), replace=False))
    )
    for factor in _FACTORS:
        changed: dict[int, Record] = {number: plain.records[number].scaled(factor) for number in chosen}
        second = {number: record for number, record in changed.items() if number >= (at + 1) * net.batch}
        what = f"{len(chosen)} records of iterations {at} and {at + 1} have values {factor:g} times as large"
        both, parts = plain.with_records(changed), (plain.with_records(second),)
        yield Planting(what, both, _KINDS, (plain,), parts, at, records=chosen)
