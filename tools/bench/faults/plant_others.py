"""Plant two causes at once, and the controls: trainings in which nothing breaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tools.bench.faults.nets import Net
from tools.bench.faults.planting import Planting, random_of, some_iteration, usual


def two_causes(net: Net, seed: int) -> Iterator[Planting]:
    """The schedule raises the learning rate, and a record has far larger values than others; neither breaks alone."""
    random, plain = random_of("two-causes", net, seed), usual(net, seed)
    at = some_iteration(random, net)
    if net.warm_up:
        at = max(at - 20, 100)  # a larger net takes longer to recover from either cause alone
    number = at * net.batch + int(random.integers(net.batch))
    raised_at = at - int(random.integers(10, 40))
    wrong = (plain.records[number].label + 1) % net.classes
    sizes = [2.0 ** (1 + power / 2) for power in range(2, 24)]
    scaled = [plain.with_records({number: replace(plain.records[number].scaled(size), label=wrong)}) for size in sizes]
    for factor in (2.0, 1.5, 2.5, 1.25, 3.0):
        fields = {"lr_policy": '"multistep"', "stepvalue": raised_at, "gamma": factor}
        raised = plain.with_solver(**fields)
        for size, only_record in zip(sizes, scaled, strict=True):
            what = (
                f"at iteration {raised_at} the schedule multiplies the learning rate by {factor:g}, and one record of "
                f"iteration {at} has values {size:.3g} times as large"
            )
            both = only_record.with_solver(**fields)
            kinds, twins = ("record", "lr-schedule"), (raised, only_record)
            yield Planting(what, both, kinds, twins, at=at, records=(number,), family=factor)


def spike(net: Net, seed: int) -> Iterator[Planting]:
    """Records with larger values make the loss rise, and training recovers by itself."""
    random, plain = random_of("spike", net, seed), usual(net, seed)
    at = some_iteration(random, net) - net.iterations // 8
    chosen = [at * net.batch + int(place) for place in random.choice(net.batch, 2, replace=False)]
    for power in range(24, 0, -1):
        factor = 2.0 ** (power / 2)
        changed = {
            number: replace(plain.records[number].scaled(factor), label=(plain.records[number].label + 1) % net.classes)
            for number in chosen
        }
        what = f"two records of iteration {at} have values {factor:.3g} times as large, and training recovers"
        yield Planting(what, plain.with_records(changed), ("none",), at=at, records=tuple(chosen), recovers=True)


def healthy(net: Net, seed: int) -> Iterator[Planting]:
    """Nothing is planted; the settings are usual ones."""
    random, plain = random_of("healthy", net, seed), usual(net, seed)
    schedules: list[dict[str, object]] = [
        {},
        {"lr_policy": '"step"', "stepsize": net.iterations // 2, "gamma": 0.1},
        {"lr_policy": '"poly"', "power": 0.5},
        {"lr_policy": '"inv"', "gamma": 0.001, "power": 0.75},
        {"momentum": 0.95},
        {"weight_decay": 0.005},
    ]
    for factor in (float(random.uniform(0.4, 1.2)), 0.5, 0.25):
        fields = schedules[seed % len(schedules)] | {"base_lr": f"{factor * net.rate:.3g}"}
        yield Planting("nothing", plain.with_solver(**fields), ("none",), recovers=True)
