"""Undos of a planted run: the changes of replays that take a fault back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.schemas.arm import (
    AnyChange,
    HistoryScaled,
    LayerField,
    Place,
    RateHeld,
    RateScaled,
    RecordsReplaced,
    Replacement,
    SolverField,
    StreamShifted,
)
from tools.bench.faults.planting import Planting
from tools.bench.faults.training import Training

_USUAL_MOMENTUM = 0.9


@dataclass(frozen=True)
class Remedy:
    """Changes that undo something, and the verdicts that they speak for."""

    name: str
    kinds: tuple[str, ...]
    changes: tuple[AnyChange, ...]


def remedies(planting: Planting, start: int, horizon: int, rate_before: float, rate_after: float) -> list[Remedy]:
    """Return what may be undone, what was planted first.

    Args:
        start, horizon: of the replays.
        rate_before, rate_after: the learning rate before anything was planted, and at the break.
    """
    found = list(_all(planting, start, horizon, rate_before, rate_after))
    return sorted(found, key=lambda remedy: not set(remedy.kinds) & set(planting.kinds))


def _all(planting: Planting, start: int, horizon: int, before: float, after: float) -> Iterator[Remedy]:
    training, batch = planting.training, planting.training.net.batch
    if planting.records:
        yield Remedy("its records replaced", ("record",), (replaced(planting.records, batch, start),))
    first = planting.at if planting.at is not None else start
    yield Remedy(
        "one batch replaced", ("record",), (replaced(range(first * batch, (first + 1) * batch), batch, start),)
    )
    source = start - horizon if start >= horizon else min(start + horizon, training.net.iterations - horizon)
    yield Remedy("all batches from another time", ("data-shift",), (StreamShifted(start, source),))
    if after > before:
        yield Remedy("the learning rate held", ("lr-schedule",), (RateHeld(start, before),))
    yield Remedy("a tenth of the learning rate", ("learning-rate",), (RateScaled(0.1, start), HistoryScaled(0.1)))
    for layer in training.net.layers:
        if layer in training.factors:
            yield Remedy(f"the usual learning rate of {layer}", ("layer-lr",), _rate_of(training, layer, 1))
        elif training.factors:
            yield Remedy(f"a tenth of the learning rate of {layer}", ("other-layer",), _rate_of(training, layer, 0.1))
    if training.solver.get("momentum", _USUAL_MOMENTUM) != _USUAL_MOMENTUM:
        yield Remedy("momentum 0.9", ("momentum",), (SolverField("momentum", "0.9"),))
    if "weight_decay" in training.solver:
        usual_decay = f"{training.net.decay:g}"
        yield Remedy("the usual weight decay", ("weight-decay",), (SolverField("weight_decay", usual_decay),))


def _rate_of(training: Training, layer: str, factor: float) -> tuple[AnyChange, ...]:
    """Set the learning rate of a layer to its usual one times `factor`."""
    return tuple(
        LayerField(layer, f"param[{number}].lr_mult", f"{factor * rate:g}")
        for number, rate in enumerate(training.net.lr_mult(layer))
    )


def replaced(records: Sequence[int], batch: int, start: int) -> RecordsReplaced:
    """Put records of the iterations before `start` in the places of others: of another iteration for each batch."""
    places = (Place(*divmod(number, batch)) for number in records)
    return RecordsReplaced(
        tuple(Replacement(place, Place(2 * start - 1 - place.iteration, place.position)) for place in places)
    )
