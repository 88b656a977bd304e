"""Decide the kind of a break from what the stages found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.records.culprits import Culprits
from harness.diagnosis.cause.stages.controls import Controls
from harness.diagnosis.cause.stages.data import FEW, DataFinding
from harness.diagnosis.cause.stages.factors import Screened
from harness.diagnosis.cause.stages.layer_lr import LayerRates
from harness.diagnosis.cause.stages.start_weights import StartFinding
from harness.schemas.explanation import CulpritRecord, Kind

# settings that heal nearly everything, the most special first: causes only if nothing else is one
LAST_RESORTS: tuple[Kind, ...] = ("momentum", "weight-decay", "learning-rate")


@dataclass(frozen=True)
class Screening:
    """What the deciding stages found; None for those that were not made."""

    controls: Controls
    data: DataFinding | None = None
    culprits: Culprits | None = None
    factors: tuple[Screened, ...] = ()
    layers: LayerRates | None = None
    start: StartFinding | None = None

    @property
    def few_batches(self) -> bool:
        """Training does not break without a few batches, and does with these and all others replaced."""
        data = self.data
        if data is None or data.width is None or data.width > FEW or data.kept is None:
            return False
        return data.kept.breaks > data.kept.heals

    @property
    def data_stretch(self) -> bool:
        """Training does not break with other data, and breaks by more than a few batches of its own."""
        data = self.data
        return data is not None and data.heals and (data.width is None or data.width > FEW or data.moved is not None)

    @property
    def anything_heals(self) -> bool:
        """Most arms continue from hardly jittered weights, and with other data: that a setting heals says nothing."""
        jittered, near = self.controls.jittered, self.data.near if self.data is not None else None
        return bool(jittered) and near is not None and all(one.heals > one.breaks for one in (jittered[-1], near))

    def factor(self, kind: str) -> Screened | None:
        """Return the factor of that kind, if it was changed and healed."""
        return next((found for found in self.factors if found.factor.kind == kind and found.heals), None)

    def responsible_records(self, kind: Kind) -> tuple[CulpritRecord, ...]:
        """Return the records that a verdict of that kind names."""
        return self.culprits.needed if kind == "record" and self.culprits is not None else ()

    def responsible_layers(self, kind: Kind) -> tuple[str, ...]:
        """Return the layers that a verdict of that kind names."""
        if kind == "start-weights" and self.start is not None:
            return self.start.layers
        if kind == "layer-lr" and self.layers is not None and self.layers.layer is not None:
            return (self.layers.layer,)
        return ()


def decide_by_control(case: Case, controls: Controls, not_exact: Sequence[str]) -> Kind | None:
    """Decide what unchanged replays decide: nothing broke, or only the machine did it. None if training breaks."""
    if controls.outcome == "not known":
        return "undecided"
    if controls.outcome == "breaks":
        return None
    if controls.first_difference is None:
        return "none"
    later = controls.first_difference > case.kept  # the state that was kept need not be that of its digest
    return "machine" if controls.agree and later and not not_exact else "undecided"


def decide(found: Screening) -> Kind:
    """Decide the kind: the factor that deviated from its own past; only if nothing did, a setting that heals."""
    few = found.few_batches
    if found.data_stretch and found.data is not None and found.data.break_earlier:
        return "data-shift"
    if few and (found.culprits is None or found.culprits.deviate):
        return "record"
    if found.factor("lr-schedule"):
        return "lr-schedule"
    rate = found.factor("learning-rate")
    if rate is not None and rate.factor.since is not None:
        return "learning-rate"
    is_far = found.layers is not None and found.layers.is_far  # a deviation, which weights drawn at random are not
    if found.start is not None and found.start.heals and (found.start.deviates or not is_far):
        return "start-weights"
    if found.layers is not None and found.layers.layer is not None:
        return "layer-lr"
    if found.anything_heals:
        return "record" if few else "undecided"
    unsure: Kind = "record" if few else "data-shift" if found.data_stretch else "undecided"
    return next((kind for kind in LAST_RESORTS if found.factor(kind)), unsure)
