"""Culprit records in a made-up training, in which the damage of records adds up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.caffe_files.messages import pb
from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.records.culprits import Culprits, find_culprits
from harness.diagnosis.cause.records.outlying import Effect, Scale, Usual
from harness.diagnosis.cause.trials import OutOfBudget, Wanted
from harness.schemas.arm import Arm, ArmResult, Place, RecordsReplaced, StreamShifted
from harness.schemas.explanation import Levels

AT, AFTER = 100, 16
HEALTHY, BROKEN = 0.5, 4.5


def case_of(count: int, iter_size: int = 1) -> Case:
    """A run that breaks at iteration 100 and reads `count` records in a pass."""
    iterations = np.arange(160)
    loss = np.where(iterations <= AT, HEALTHY, BROKEN)
    data = pb.LayerParameter(name="data", type="Data", data_param=pb.DataParameter(batch_size=count))
    return Case(
        at=AT,
        first=80,
        kept=80,
        start=95,
        after=AFTER,
        levels=Levels(HEALTHY, BROKEN, (HEALTHY + BROKEN) / 2),
        solver=pb.SolverParameter(iter_size=iter_size),
        net=pb.NetParameter(layer=[data]),
        params=(),
        iterations=iterations,
        loss=loss,
        rate=np.full(160, 0.1),
        gradient_l2=np.ones(160),
        seconds=0.01,
    )


@dataclass(frozen=True)
class World:
    """Each record at a place of `damage` raises the loss by so much once; from 2 on, the training is broken."""

    count: int
    damage: Mapping[Place, float]

    def result(self, arm: Arm) -> ArmResult:
        losses, gradients, broken, passing = [], [], False, 0.0
        for t in range(arm.start, arm.until):
            losses.append((BROKEN if broken else HEALTHY) + passing)
            done = self._done(arm, t)
            gradients.append(1 + 50 * done)
            if not math.isfinite(done):
                return ArmResult(
                    arm=arm, ended="not finite", loss=tuple(losses), gradient_l2=(*gradients[:-1], math.nan)
                )
            broken, passing = broken or done > 2, done
        return ArmResult(arm=arm, ended="completed", loss=tuple(losses), gradient_l2=tuple(gradients))

    def _done(self, arm: Arm, t: int) -> float:
        read = {position: Place(t, position) for position in range(self.count)}
        for change in arm.changes:
            if isinstance(change, StreamShifted) and change.first <= t < (change.stop or arm.until):
                read = {position: Place(change.source + t - change.first, position) for position in read}
            elif isinstance(change, RecordsReplaced):
                read |= {r.place.position: r.source for r in change.replacements if r.place.iteration == t}
        return sum(self._of(place) for place in read.values())

    def _of(self, place: Place) -> float:
        return self.damage.get(place, 0.002 * math.sin(37 * place.iteration + 11 * place.position))


def found_in(
    world: World, case: Case, batches: tuple[int, ...] = (AT,), before: tuple[int, ...] = ()
) -> tuple[Culprits, list[Wanted]]:
    procedure, asked = find_culprits(case, batches, before), []
    try:
        wanted = next(procedure)
        while True:
            asked.append(wanted)
            arms = [arm for trial in wanted.trials for arm in trial.arms]
            wanted = procedure.send({arm.key: world.result(arm) for arm in arms})
    except StopIteration as stop:
        return stop.value, asked


def places(found: Culprits) -> set[Place]:
    return {Place(record.iteration, record.index) for record in found.records}


@settings(max_examples=10, deadline=None)
@given(count=st.sampled_from((4, 32, 100)), data=st.data())
def test_exactly_those_with_damage_are_found(count: int, data: st.DataObject) -> None:
    positions = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=min(count, 24)))
    damage = {Place(AT, position): data.draw(st.floats(2.5 / len(positions), 5)) for position in positions}
    found, _ = found_in(World(count, damage), case_of(count))
    assert places(found) == set(damage)
    assert found.sets is not None
    assert found.sets.are_necessary
    assert found.sets.complete
    assert (found.sets.placebo is None) == (len(positions) == count)
    assert found.sets.placebo is None or found.sets.placebo.all_break


def test_a_batch_of_32_takes_60_short_arms_at_most() -> None:
    world = World(32, {Place(AT, position): 0.5 for position in range(8, 24)})
    found, asked = found_in(world, case_of(32))
    assert places(found) == set(world.damage)
    short = {arm.key for wanted in asked for trial in wanted.trials for arm in trial.arms if arm.horizon <= 4}
    assert len(short) <= 60
    assert found.sets is not None
    assert found.sets.elsewhere is not None
    assert found.sets.elsewhere.breaks == 5
    assert [(tried.size, tried.seen.breaks) for tried in found.sets.subsets] == [(8, 3), (4, 0)]
    assert found.sets.suffice == 8


def test_records_of_several_batches_and_passes() -> None:
    world = World(8, {Place(AT, 6): 1.5, Place(AT + 2, 1): 2.5, Place(AT + 2, 7): math.inf})
    found, _ = found_in(world, case_of(4, iter_size=2), (AT, AT + 1, AT + 2))
    assert places(found) == set(world.damage)
    assert [batch.is_outlier for batch in found.batches] == [True, False, True]
    assert [record.effect for record in found.records][2] is None


def test_beside_a_record_that_is_not_finite_a_little_damage_does_not_count() -> None:
    world = World(8, {Place(AT, 2): 0.5, Place(AT, 6): math.inf})
    assert places(found_in(world, case_of(8))[0]) == {Place(AT, 6)}


def test_a_hard_record_is_none() -> None:
    """A batch of such records would not break training, and its gradient is a small part of that of the batch."""
    assert places(found_in(World(16, {Place(AT, 2): 5.0, Place(AT, 6): 0.1}), case_of(16))[0]) == {Place(AT, 2)}
    equal = {Place(AT, position): 0.12 for position in range(16)}
    assert places(found_in(World(16, equal), case_of(16))[0]) == set(equal)


@pytest.mark.parametrize(
    ("rises", "gradient", "outlying"),
    [
        ((0.05, 0.1, 0.1), 1.0, None),  # without any gradient of its own
        ((0.05, 0.1, 0.1), 40.0, 0.05),  # with its share of that of the batch
        ((0.05, 0.1, 0.1), 3.0, None),
        ((0.2, 0.1, 0.1), 3.0, 0.2),
        ((0.0, 5.0, 5.0), 3.0, None),  # when the batch has done its damage
        ((math.inf,) * 3, math.inf, math.inf),
    ],
)
def test_what_counts_of_an_effect(rises: tuple[float, ...], gradient: float, outlying: float | None) -> None:
    scale = Scale(Usual((0.0,) * 3, (1e-3,) * 3, 1.2, 0.15), (0.03,) * 3, (0.125, math.inf, math.inf), 20.0)
    assert scale.outlying(Effect(rises, gradient)) == outlying


def test_batches_that_the_break_does_not_need_matter_if_they_come_near_to_it() -> None:
    world = World(16, {Place(AT - 2, 1): 0.1, Place(AT - 1, 2): 1.5, Place(AT, 3): 5.0})
    found, _ = found_in(world, case_of(16), (AT,), (AT - 2, AT - 1))
    assert places(found) == {Place(AT - 1, 2), Place(AT, 3)}


def test_a_batch_whose_records_do_nothing_special_has_no_culprits() -> None:
    world = World(16, {Place(AT, position): 0.01 for position in range(16)})
    found, _ = found_in(world, case_of(16))
    assert not found.records
    assert found.tried == 16
    assert found.sets is None
    assert found.batches[0].effect is not None
    assert found.batches[0].effect.rises[0] == pytest.approx(0.16, abs=0.05)


def test_records_whose_replacement_does_not_heal_are_not_all_that_the_break_needs() -> None:
    world = World(8, {Place(AT, 3): 2.5, Place(AT + 1, 3): 2.5})
    found, _ = found_in(world, case_of(8))
    assert places(found) == {Place(AT, 3)}
    assert found.sets is not None
    assert found.sets.replaced.all_break
    assert not found.needed
    assert found_in(world, case_of(8), (AT, AT + 1))[0].needed


def test_what_was_found_is_kept_where_the_budget_ends() -> None:
    world, procedure = World(8, {Place(AT, 3): 5.0}), find_culprits(case_of(8), (AT,))
    wanted = next(procedure)
    while all(trial.kind == "effect" for trial in wanted.trials):
        wanted = procedure.send({arm.key: world.result(arm) for trial in wanted.trials for arm in trial.arms})
    with pytest.raises(StopIteration) as stop:
        procedure.throw(OutOfBudget())
    found: Culprits = stop.value.value
    assert places(found) == {Place(AT, 3)}
    assert found.sets is None
    assert found.needed
    assert not found.complete


def test_nothing_is_tried_where_no_layer_says_what_it_reads() -> None:
    case = case_of(8)
    case.net.layer[0].type = "Python"
    found, asked = found_in(World(8, {}), case)
    assert (found.why_none, asked) == ("How many records an iteration reads is not known.", [])
