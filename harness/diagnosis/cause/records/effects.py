"""Measure what the records of a batch do: arms of a few iterations with ordinary records, among which some stand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.diagnosis.cause.observing import measure
from harness.diagnosis.cause.records.bench import SHARE, Bench
from harness.diagnosis.cause.records.outlying import (
    Effect,
    Scale,
    Usual,
    effect_of,
    is_suspicious,
    outlying_rise,
    relief,
    usual_of,
)
from harness.diagnosis.cause.records.stand_ins import Sources, Spot
from harness.diagnosis.cause.trials import Procedure, Results, Trial
from harness.schemas.arm import Arm, ArmResult

STAGE = "culprit records"
_LAGS = 3  # iterations after a batch in which its effect may show
_BATCHES, _FEWER_BATCHES = 7, 3  # ordinary ones with which the first batch, and each further one, is compared
_RECORDS = 14  # ordinary ones with which records are compared
_GROUPS = 12  # likewise for groups of records
_ONE_BY_ONE = 44  # records of an iteration up to which each is tried at once; else groups of them come first
_CLOSER = 4.0  # standard deviations beyond which a group is looked into
_COMPANY = 5  # ordinary records without which the batch is tried as well
_RELIEF = 1 / 8  # of what a batch does: without a record that needs others for its damage, so much less


@dataclass(frozen=True)
class BatchEffect:
    """What a whole batch does, compared with ordinary ones in its place.

    Attributes:
        effect: None if the process died.
        usual: the effects of ordinary batches, compared with the one among them that is in the middle.
        is_outlier: its effect is far from theirs.
    """

    iteration: int
    effect: Effect | None
    usual: Usual
    is_outlier: bool


@dataclass(frozen=True)
class RecordEffect:
    """What a record does that stands among ordinary ones.

    Attributes:
        effect: None if the process died.
        outlying: the first rise of the loss that is an outlier, infinite where it is not finite; None if none is.
        relief: by how much less its batch does without it, if it does damage only together with others.
    """

    spot: Spot
    effect: Effect | None
    outlying: float | None
    relief: float | None = None

    @property
    def is_culprit(self) -> bool:
        return self.outlying is not None or self.relief is not None


@dataclass(frozen=True)
class Measured:
    """A batch that was measured; `base` numbers the ordinary batch with which effects are compared: `result`."""

    batch: BatchEffect
    base: int
    result: ArmResult

    def scale(self, bench: Bench, usual: Usual) -> Scale:
        """Return what the effects of its records are compared with; `usual` are those of ordinary ones."""
        effect = self.batch.effect
        rises, gradient = ((0.0,) * _LAGS, 0.0) if effect is None else (effect.rises, effect.gradient_l2)
        little, share = bench.least(rises, self.batch.usual), bench.to_limit / bench.count
        done = next((lag for lag, rise in enumerate(rises) if rise > SHARE * bench.to_limit), _LAGS)
        enough = tuple(max(share, rise) if lag <= done else math.inf for lag, rise in enumerate(little))
        return Scale(usual, little, enough, gradient / bench.count)

    def does(self, rise: float) -> bool:
        """Check whether the batch raises the loss by more than `rise`; so it does where its process died."""
        return self.batch.effect is None or self.batch.effect.largest > rise

    def lag(self, bench: Bench) -> int:
        """Return which iteration after the batch is the first to show what it does; 0 is the next one."""
        rises = self.batch.effect.rises if self.batch.effect is not None else ()
        return next((lag for lag, rise in enumerate(rises) if rise > SHARE * bench.to_limit), 0)


@dataclass(frozen=True)
class Tried:
    """The records of a batch that were tried one by one, and the effects of ordinary records in their places."""

    records: tuple[RecordEffect, ...]
    usual: Usual


def measure_batches(bench: Bench) -> Procedure[tuple[Measured, ...]]:
    """Measure the effect of each batch; those are left out in whose place no ordinary batch stays finite."""
    arms: dict[int, list[Arm]] = {}
    for batch in bench.batches:
        numbers = range(_BATCHES if batch == bench.batches[0] else _FEWER_BATCHES)
        ordinary = [bench.stand_ins(_LAGS + number, bench.spots(batch)) for number in numbers]
        arms[batch] = [bench.arm(batch, sources, _LAGS) for sources in ({}, *ordinary)]
    trials = [Trial(f"batch of {t:,}, and ordinary ones in its place", "effect", tuple(of)) for t, of in arms.items()]
    found = yield from measure(STAGE, trials)
    measured: list[Measured] = []
    for batch, (whole, *ordinary_arms) in arms.items():
        results = [found[arm.key] for arm in ordinary_arms]
        level = {n: sum(r.loss[-_LAGS:]) for n, r in enumerate(results) if r.ended == "completed"}
        if level:
            middle = sorted(level, key=lambda n: level[n])[len(level) // 2]
            effects = [effect_of(result, results[middle], batch) for result in results]
            usual = measured[0].batch.usual if measured else usual_of([e for e in effects if e is not None])
            effect = effect_of(found[whole.key], results[middle], batch)
            outlying = effect is not None and outlying_rise(effect, usual, bench.least(effect.rises, usual)) is not None
            measured.append(Measured(BatchEffect(batch, effect, usual, outlying), _LAGS + middle, results[middle]))
    return tuple(measured)


def measure_records(bench: Bench, batch: Measured) -> Procedure[Tried]:
    """Measure the effect of each record of a batch, alone among ordinary ones: those that are far from the usual.

    A record whose effect is not clear in the iteration after it, but whose gradient is far from the usual, or whose
    effect is so in the other direction, is tried again with more iterations.
    """
    iteration, lags = batch.batch.iteration, batch.lag(bench) + 1
    spots = bench.spots(iteration)
    if bench.count > _ONE_BY_ONE:
        spots = yield from _suspicious(bench, batch, lags)
    own = {spot: _among_ordinary(bench, batch, {spot: spot.place}, lags) for spot in spots}
    every = bench.spots(iteration)
    ordinary = [
        _among_ordinary(
            bench, batch, bench.stand_ins(_LAGS + _BATCHES + number, (every[number * len(every) // _RECORDS],)), _LAGS
        )
        for number in range(_RECORDS)
    ]
    found = yield from measure(
        STAGE,
        (
            Trial(f"records of {iteration:,}, each among ordinary ones", "effect", tuple(own.values())),
            Trial(f"ordinary records in places of {iteration:,}", "effect", tuple(ordinary)),
        ),
    )
    others = _effects(ordinary, found, batch)
    if not others:  # refused or died
        return Tried((), batch.batch.usual)
    usual = usual_of(others)
    effects = {spot: effect_of(found[arm.key], batch.result, iteration) for spot, arm in own.items()}
    scale = batch.scale(bench, usual)
    if lags < _LAGS:
        effects |= yield from _longer(bench, batch, _unclear(effects, scale))
    together = yield from _together(bench, batch, _unclear(effects, scale), tuple(effects))
    return Tried(
        tuple(
            RecordEffect(spot, effect, None if effect is None else scale.outlying(effect), together.get(spot))
            for spot, effect in effects.items()
        ),
        usual,
    )


def _unclear(effects: Mapping[Spot, Effect | None], scale: Scale) -> tuple[Spot, ...]:
    """Return the records that are no outliers by the rise of the loss, but suspicious."""
    return tuple(
        spot
        for spot, effect in effects.items()
        if effect is not None and scale.outlying(effect) is None and is_suspicious(effect, scale.usual)
    )


def _longer(bench: Bench, batch: Measured, spots: Sequence[Spot]) -> Procedure[dict[Spot, Effect | None]]:
    """Measure the effects of records in more iterations."""
    if not spots:
        return {}
    arms = {spot: _among_ordinary(bench, batch, {spot: spot.place}, _LAGS) for spot in spots}
    name = f"records of {batch.batch.iteration:,}, each among ordinary ones, longer"
    found = yield from measure(STAGE, (Trial(name, "effect", tuple(arms.values())),))
    return {spot: effect_of(found[arm.key], batch.result, batch.batch.iteration) for spot, arm in arms.items()}


def _together(
    bench: Bench, batch: Measured, spots: Sequence[Spot], tried: Sequence[Spot]
) -> Procedure[dict[Spot, float]]:
    """Return which of `spots` do damage only together with others, and how much less the batch does without each."""
    whole, iteration, lag = batch.batch.effect, batch.batch.iteration, batch.lag(bench)
    others = [spot for spot in tried if spot not in spots][:: max(1, len(tried) // _COMPANY)]
    if not spots or len(others) < 2 or whole is None or not math.isfinite(whole.rises[lag]):
        return {}
    arms = {spot: bench.arm(iteration, bench.stand_ins(batch.base, (spot,)), lag + 1) for spot in (*spots, *others)}
    name = f"batch of {iteration:,} without one record"
    found = yield from measure(STAGE, (Trial(name, "effect", tuple(arms.values())),))
    without = {spot: effect_of(found[arm.key], batch.result, iteration) for spot, arm in arms.items()}
    known = [effect for spot in others if (effect := without[spot]) is not None]
    if not known:
        return {}
    usual, less = usual_of(known), {}
    for spot in spots:
        effect = without[spot]
        amount = None if effect is None else relief(effect, usual, whole, lag, _RELIEF)
        if amount is not None:
            less[spot] = amount
    return less


def _suspicious(bench: Bench, batch: Measured, lags: int) -> Procedure[tuple[Spot, ...]]:
    """Return the records of those groups whose effects are far from those of groups of ordinary records."""
    iteration, size = batch.batch.iteration, math.ceil(math.sqrt(bench.count))
    spots = bench.spots(iteration)
    groups = [spots[n : n + size] for n in range(0, len(spots), size)]
    own = [_among_ordinary(bench, batch, {spot: spot.place for spot in group}, lags) for group in groups]
    ordinary = [
        _among_ordinary(bench, batch, bench.stand_ins(_LAGS + _BATCHES + n, groups[n % len(groups)]), lags)
        for n in range(_GROUPS)
    ]
    found = yield from measure(
        STAGE,
        (
            Trial(f"records of {iteration:,}, {size} at a time among ordinary ones", "effect", tuple(own)),
            Trial(f"ordinary records in places of {iteration:,}, {size} at a time", "effect", tuple(ordinary)),
        ),
    )
    usual = usual_of(_effects(ordinary, found, batch))
    effects = [effect_of(found[arm.key], batch.result, iteration) for arm in own]
    return tuple(
        spot
        for group, effect in zip(groups, effects, strict=True)
        if effect is None or is_suspicious(effect, usual, _CLOSER)
        for spot in group
    )


def _among_ordinary(bench: Bench, batch: Measured, sources: Sources, lags: int) -> Arm:
    """Return an arm in which the records `sources` stand in the ordinary batch in spot of `batch`."""
    iteration = batch.batch.iteration
    return bench.arm(iteration, bench.stand_ins(batch.base, bench.spots(iteration)) | dict(sources), lags)


def _effects(arms: Sequence[Arm], found: Results, batch: Measured) -> list[Effect]:
    effects = (effect_of(found[arm.key], batch.result, batch.batch.iteration) for arm in arms)
    return [effect for effect in effects if effect is not None]
