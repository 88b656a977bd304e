"""A made-up training that answers all questions of an investigation: what it reads, at which rate, and what harms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from harness.caffe_files.messages import pb
from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.investigate import Finding, investigate
from harness.diagnosis.cause.trials import OutOfBudget, Wanted
from harness.schemas.arm import (
    Arm,
    ArmResult,
    HistoryScaled,
    LayerField,
    LayerRedrawn,
    Place,
    RateHeld,
    RateScaled,
    RecordsReplaced,
    SolverField,
    StreamShifted,
    UpdateWithheld,
    WeightsJittered,
    WeightsScaled,
)
from tests.helpers.made_up_cases import BROKEN, HEALTHY

RECORDS = 8  # in a batch
DATA = pb.LayerParameter(name="data", type="Data", data_param=pb.DataParameter(batch_size=RECORDS))


def with_data(case: Case) -> Case:
    """Return a case whose net reads records, and whose digests are the numbers of the iterations."""
    return replace(case, net=pb.NetParameter(layer=[DATA]), digest=np.asarray(case.iterations, np.uint64))


@dataclass(frozen=True)
class Step:
    """An iteration of an arm: what is read, with which settings, and which layers are updated."""

    t: int
    batches: tuple[int, ...]  # whose records are read, from the start of the arm up to this iteration
    damage: float  # the sum over the records
    rate: float
    settings: Mapping[str, float]
    slower: frozenset[str]  # layers with a lower rate
    redrawn: frozenset[str]
    scaled: frozenset[str]  # layers whose weights were
    history_kept: bool
    updated: frozenset[str]
    jittered: bool


@dataclass(frozen=True)
class Training:
    """Training that breaks for good after the first step that is `harmful`.

    Attributes:
        damage: of single records; that of a batch raises the next loss by as much, once.
        digests: what an iteration's digest is, in a replay; the recorded one is its number.
        ended, why: of all arms.
    """

    case: Case
    harmful: Callable[[Step], bool]
    damage: Mapping[Place, float] = field(default_factory=dict)
    digests: Callable[[int], int] = lambda t: t
    ended: Literal["completed", "died", "refused"] = "completed"
    why: str = ""

    def result(self, arm: Arm) -> ArmResult:
        if self.ended != "completed":
            return ArmResult(arm=arm, ended=self.ended, why=self.why)
        losses: list[float] = []
        broken, passing = False, 0.0
        batches: tuple[int, ...] = ()
        for t in range(arm.start, arm.until):
            losses.append((BROKEN if broken else HEALTHY) + passing)
            places = self._read(arm, t)
            batches = (*batches, places[0].iteration)
            step = self._step(arm, t, batches, sum(map(self._damage, places)))
            passing = step.damage
            broken = broken or (bool(step.updated) and self.harmful(step))
        count = len(losses)
        norms = dict.fromkeys(self.case.layers, (1.0,) * count)
        return ArmResult(
            arm=arm,
            ended="completed",
            loss=tuple(losses),
            gradient_l2=(2.0,) * count,
            layer_gradient_l2=norms,
            layer_update_l2=norms,
            digest=tuple(map(self.digests, range(arm.start, arm.until))),
            final_digest=self.digests(arm.until),
        )

    def _damage(self, place: Place) -> float:
        return self.damage.get(place, 0.002 * math.sin(37 * place.iteration + 11 * place.position))

    def _read(self, arm: Arm, t: int) -> list[Place]:
        iteration = t
        for change in arm.changes:
            if isinstance(change, StreamShifted) and change.first <= t < (change.stop or arm.until):
                iteration = change.source + t - change.first
        read = {position: Place(iteration, position) for position in range(RECORDS)}
        for change in arm.changes:
            if isinstance(change, RecordsReplaced):
                read |= {r.place.position: r.source for r in change.replacements if r.place.iteration == t}
        return list(read.values())

    def _step(self, arm: Arm, t: int, batches: tuple[int, ...], damage: float) -> Step:
        rate, settings = self.case.rate_at(t), {"momentum": self.case.momentum}
        slower, redrawn, scaled, withheld, history_kept = set(), set(), set(), set(), True
        for change in arm.changes:
            match change:
                case RateHeld(first, held) if t >= first:
                    rate = held
                case RateScaled(factor, first) if t >= first:
                    rate *= factor
                case SolverField(name, value):
                    settings[name] = float(value)
                case LayerField(layer):
                    slower.add(layer)
                case LayerRedrawn(layer):
                    redrawn.add(layer)
                case WeightsScaled(layer):
                    scaled.add(layer)
                case HistoryScaled(0, None):
                    history_kept = False
                case UpdateWithheld(layer, first) if t >= first:
                    withheld.add(layer)
                case _:
                    pass
        updated = frozenset(self.case.layers) - withheld
        jittered = any(isinstance(change, WeightsJittered) for change in arm.changes)
        changed = frozenset(slower), frozenset(redrawn), frozenset(scaled), history_kept, updated, jittered
        return Step(t, batches, damage, rate, settings, *changed)


def investigated(training: Training, most: int | None = None, not_exact: tuple[str, ...] = ()) -> Finding:
    """Return what an investigation finds; after `most` requests (None: any number), its budget is used up."""
    procedure, requests = investigate(training.case, not_exact), 0
    try:
        wanted: Wanted = next(procedure)
        while True:
            requests += 1
            if most is not None and requests > most:
                wanted = procedure.throw(OutOfBudget())
            else:
                arms = (arm for trial in wanted.trials for arm in trial.arms)
                wanted = procedure.send({arm.key: training.result(arm) for arm in arms})
    except StopIteration as end:
        finding: Finding = end.value
        return finding
