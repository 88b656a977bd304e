"""Measure what the records of a batch do: arms of a few iterations with ordinary records, among which some stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.observing import measure
from harness.diagnosis.cause.outlying import Effect, Usual, effect_of, is_suspicious, outlying_rise, usual_of
from harness.diagnosis.cause.stand_ins import Sources, batches_from, replaced
from harness.diagnosis.cause.trials import Procedure, Results, Trial
from harness.schemas.arm import AnyChange, Arm, ArmResult, Place, StreamShifted

STAGE = "culprit records"
_LAGS = 3  # iterations after a batch in which its effect may show
_BATCHES, _FEWER_BATCHES = 7, 3  # ordinary ones with which the first batch, and each further one, is compared
_RECORDS = 14  # ordinary ones with which records are compared
_GROUPS = 12  # likewise for groups of records
_ONE_BY_ONE = 44  # records of an iteration up to which each is tried at once; else groups of them come first
_CLOSER = 4.0  # standard deviations beyond which a group is looked into
_SHARE = 1 / 4  # of what each record would do if all of a batch did the same: less does not matter


@dataclass(frozen=True)
class Bench:
    """Where effects are measured: arms from the first of `batches` on, each of which has ordinary records only.

    Attributes:
        batches: the iterations whose batches are suspected, in their order.
        count: the records of an iteration.
        ordinary: iterations whose records did no harm, the nearest first.
    """

    case: Case
    batches: tuple[int, ...]
    count: int
    ordinary: tuple[int, ...]

    def places(self, batch: int) -> tuple[Place, ...]:
        """List the places of a batch."""
        return tuple(Place(batch, position) for position in range(self.count))

    def stand_ins(self, number: int, places: Sequence[Place]) -> dict[Place, Place]:
        """Return ordinary records for `places`: those at the same positions of another iteration for each `number`.

        Where the ordinary iterations have been used up, they come again, with their records at other positions.
        """
        iteration = self.ordinary[number % len(self.ordinary)]
        turn = number // len(self.ordinary)
        return {place: Place(iteration, (place.position + turn) % self.count) for place in places}

    def arm(self, batch: int, sources: Sources, lags: int) -> Arm:
        """Return an arm with `sources` in `batch`; suspected batches before it, and `lags` after it, are ordinary."""
        before = [t for t in self.batches if t < batch]
        others = [self.ordinary[-1 - number % len(self.ordinary)] for number in range(len(before))]
        after = [self.ordinary[lag % len(self.ordinary)] for lag in range(lags)]
        changes: list[AnyChange] = [StreamShifted(t, s, t + 1) for t, s in zip(before, others, strict=True)]
        changes += batches_from(batch + 1, after)
        moved = replaced(sources)
        return Arm(
            self.batches[0], batch - self.batches[0] + 1 + lags, (*changes, *([moved] * bool(moved.replacements)))
        )

    def least(self, batch_rises: Sequence[float]) -> tuple[float, ...]:
        """Return the rises below which a single record does not matter, for each iteration after the batch.

        `batch_rises` are those with the whole batch. Infinite ones say nothing of the share of a record.
        """
        to_limit = self.case.levels.limit - self.case.levels.healthy
        rises = (rise if math.isfinite(rise) else 0 for rise in batch_rises)
        return tuple(_SHARE * max(rise, to_limit) / self.count for rise in rises)


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
    """

    place: Place
    effect: Effect | None
    outlying: float | None


@dataclass(frozen=True)
class Measured:
    """A batch that was measured; `base` numbers the ordinary batch with which effects are compared: `result`."""

    batch: BatchEffect
    base: int
    result: ArmResult


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
        ordinary = [bench.stand_ins(_LAGS + number, bench.places(batch)) for number in numbers]
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
            outlying = effect is not None and outlying_rise(effect, usual, bench.least(effect.rises)) is not None
            measured.append(Measured(BatchEffect(batch, effect, usual, outlying), _LAGS + middle, results[middle]))
    return tuple(measured)


def measure_records(bench: Bench, batch: Measured) -> Procedure[Tried]:
    """Measure the effect of each record of a batch, alone among ordinary ones: those that are far from the usual.

    A record whose effect is not clear in the iteration after it, but whose gradient is far from the usual, or whose
    effect is so in the other direction, is tried again with more iterations.
    """
    iteration, effect = batch.batch.iteration, batch.batch.effect
    rises = effect.rises if effect is not None else (0.0,) * _LAGS
    lags = next((n + 1 for n, rise in enumerate(rises) if rise > bench.least(rises)[n] * bench.count), 1)
    places = bench.places(iteration)
    if bench.count > _ONE_BY_ONE:
        places = yield from _suspicious(bench, batch, lags)
    own = {place: _among_ordinary(bench, batch, {place: place}, lags) for place in places}
    spots = [Place(iteration, number * bench.count // _RECORDS) for number in range(_RECORDS)]
    ordinary = [
        _among_ordinary(bench, batch, bench.stand_ins(_LAGS + _BATCHES + number, (spot,)), _LAGS)
        for number, spot in enumerate(spots)
    ]
    found = yield from measure(
        STAGE,
        (
            Trial(f"records of {iteration:,}, each among ordinary ones", "effect", tuple(own.values())),
            Trial(f"ordinary records in places of {iteration:,}", "effect", tuple(ordinary)),
        ),
    )
    usual = usual_of(_effects(ordinary, found, batch))
    effects = {place: effect_of(found[arm.key], batch.result, iteration) for place, arm in own.items()}
    least = bench.least(rises)
    unclear = {
        place: _among_ordinary(bench, batch, {place: place}, _LAGS)
        for place, effect in effects.items()
        if effect is not None and outlying_rise(effect, usual, least) is None and is_suspicious(effect, usual)
    }
    if unclear and lags < _LAGS:
        name = f"records of {iteration:,}, each among ordinary ones, longer"
        found = yield from measure(STAGE, (Trial(name, "effect", tuple(unclear.values())),))
        effects |= {place: effect_of(found[arm.key], batch.result, iteration) for place, arm in unclear.items()}
    return Tried(
        tuple(
            RecordEffect(place, effect, None if effect is None else outlying_rise(effect, usual, least))
            for place, effect in effects.items()
        ),
        usual,
    )


def _suspicious(bench: Bench, batch: Measured, lags: int) -> Procedure[tuple[Place, ...]]:
    """Return the records of those groups whose effects are far from those of groups of ordinary records."""
    iteration, size = batch.batch.iteration, math.ceil(math.sqrt(bench.count))
    places = bench.places(iteration)
    groups = [places[n : n + size] for n in range(0, len(places), size)]
    own = [_among_ordinary(bench, batch, {place: place for place in group}, lags) for group in groups]
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
        place
        for group, effect in zip(groups, effects, strict=True)
        if effect is None or is_suspicious(effect, usual, _CLOSER)
        for place in group
    )


def _among_ordinary(bench: Bench, batch: Measured, sources: Sources, lags: int) -> Arm:
    """Return an arm in which the records `sources` stand in the ordinary batch in place of `batch`."""
    iteration = batch.batch.iteration
    return bench.arm(iteration, bench.stand_ins(batch.base, bench.places(iteration)) | dict(sources), lags)


def _effects(arms: Sequence[Arm], found: Results, batch: Measured) -> list[Effect]:
    effects = (effect_of(found[arm.key], batch.result, batch.batch.iteration) for arm in arms)
    return [effect for effect in effects if effect is not None]
