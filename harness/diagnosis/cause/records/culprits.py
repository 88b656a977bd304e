"""Find culprit records: those of a batch that do damage by themselves, and what the training does without them."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.records.bench import Bench
from harness.diagnosis.cause.records.culprit_sets import SetTests, test_set
from harness.diagnosis.cause.records.effects import BatchEffect, RecordEffect, measure_batches, measure_records
from harness.diagnosis.cause.records.outlying import Usual
from harness.diagnosis.cause.records.stand_ins import ordinary_iterations
from harness.diagnosis.cause.trials import OutOfBudget, Procedure
from harness.schemas.explanation import CulpritRecord

_MOST = 8  # batches; a wider stretch is a shift of the data
_SHARE = 1 / 4  # of what breaks training, which a batch is to do that the break does not need


@dataclass(frozen=True)
class Culprits:
    """The culprit records of some batches.

    Attributes:
        records: whose effects are outliers, in the order in which they were read; key and label are not known here.
        batches: the effect of each batch that was measured.
        tried: how many records were tried one by one.
        sets: the tests of all of them together; None where there are none, or the budget did not suffice.
        why_none: a sentence, where records could not be tried.
    """

    records: tuple[CulpritRecord, ...] = ()
    batches: tuple[BatchEffect, ...] = ()
    tried: int = 0
    sets: SetTests | None = None
    why_none: str = ""

    @property
    def deviate(self) -> bool:
        """A record, or a whole batch, does more damage than ordinary ones; or that could not be measured."""
        return bool(self.records or self.why_none) or any(batch.is_outlier for batch in self.batches)

    @property
    def needed(self) -> tuple[CulpritRecord, ...]:
        """The records without which training rather continues, as far as that was tried; the others are not alone."""
        tried = self.sets.replaced if self.sets is not None else None
        return self.records if tried is None or tried.heals > tried.breaks else ()

    @property
    def complete(self) -> bool:
        """The budget sufficed for all tests."""
        return not self.records or (self.sets is not None and self.sets.complete)

    @property
    def iterations(self) -> tuple[int, ...]:
        """The iterations that read them."""
        return tuple(dict.fromkeys(record.iteration for record in self.records))


def find_culprits(case: Case, batches: tuple[int, ...], before: tuple[int, ...] = ()) -> Procedure[Culprits]:
    """Find the culprit records among those that the iterations `batches` read, which the break needs.

    Those that the iterations `before` read do damage too if their batch comes near to breaking training.

    Effects add up, so that halving would find an arbitrary half of them: each record is tried by itself among ordinary
    ones, and is a culprit if the loss rises far more than with ordinary records in its place. A record far from the
    others that the net classifies correctly has no gradient, and is none.

    Raises:
        OutOfBudget: the budget does not suffice to try each record.
    """
    suspected = tuple(sorted({*batches, *before}))[:_MOST]
    if not case.readings:
        return Culprits(why_none="How many records an iteration reads is not known.")
    ordinary = ordinary_iterations(case, suspected[0])
    if not ordinary:
        return Culprits(why_none="No iteration is known whose records did no harm.")
    bench = Bench(case, suspected, ordinary)
    measured = yield from measure_batches(bench)
    if not measured:
        return Culprits(why_none="With ordinary batches the loss is not finite either, or they cannot be read.")
    effects = tuple(one.batch for one in measured)
    matters = _SHARE * bench.to_limit
    outlying = [
        one for one in measured if one.batch.is_outlier and (one.batch.iteration in batches or one.does(matters))
    ]
    largest = max(measured, key=lambda one: one.batch.effect.largest if one.batch.effect is not None else math.inf)
    culprits: list[CulpritRecord] = []
    spots, tried = [], 0
    for one in outlying or [largest]:
        records = yield from measure_records(bench, one)
        tried += len(records.records)
        infinite = any(record.outlying == math.inf for record in records.records)
        for record in records.records:
            # beside one that is not finite, another counts only if it could break training as well
            if record.is_culprit and not (infinite and (record.outlying or 0) <= bench.to_limit):
                culprits.append(_culprit(record, records.usual))
                spots.append(record.spot)
    found = Culprits(tuple(culprits), effects, tried)
    with suppress(OutOfBudget):
        if spots:
            return replace(found, sets=(yield from test_set(bench, tuple(spots))))
    return found


def _culprit(record: RecordEffect, usual: Usual) -> CulpritRecord:
    assert record.effect is not None  # it was measured
    gradient = record.effect.gradient_l2
    effect = record.effect.rises[0] if record.outlying is None else record.outlying
    return CulpritRecord(
        key="",
        label=None,
        iteration=record.spot.place.iteration,
        index=record.spot.place.position,
        layers=record.spot.reading.layers,
        effect=effect if math.isfinite(effect) else None,
        gradient_l2=gradient if math.isfinite(gradient) else None,
        usual_effect=usual.rise[0],
        usual_gradient_l2=usual.gradient_l2,
        relief=record.relief,
    )
