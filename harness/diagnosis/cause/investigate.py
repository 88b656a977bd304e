"""The whole investigation of a break: the stages in their order, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec

from harness.diagnosis.cause.attempts import Attempts
from harness.diagnosis.cause.case import BEFORE, Case
from harness.diagnosis.cause.records.culprits import find_culprits
from harness.diagnosis.cause.stages.brakes import find_point_of_no_return
from harness.diagnosis.cause.stages.controls import Controls, find_controls
from harness.diagnosis.cause.stages.curvature import measure_curvature
from harness.diagnosis.cause.stages.data import FEW, find_data
from harness.diagnosis.cause.stages.factors import screen
from harness.diagnosis.cause.stages.layer_lr import screen_layer_rates
from harness.diagnosis.cause.stages.layers import find_layers
from harness.diagnosis.cause.stages.margins import find_margins
from harness.diagnosis.cause.stages.orders import find_orders
from harness.diagnosis.cause.stages.start_weights import find_start, is_near_start
from harness.diagnosis.cause.trials import Procedure
from harness.diagnosis.cause.verdict.deciding import LAST_RESORTS, Screening, decide, decide_by_control
from harness.diagnosis.cause.verdict.stating import (
    MORE,
    acting_from,
    stated,
    stated_by_control,
    stated_recovered,
    stated_undecided,
    undecided,
)
from harness.schemas.explanation import ControlSummary, Curvature, Kind, Margin, Orders, Verdict

_BACK = (BEFORE, 20, 50)  # iterations before the onset at which arms start, one after the other until something heals


@dataclass(frozen=True)
class Finding:
    """What an investigation found; the fields are those of `Explanation`.

    Attributes:
        left_out: stages for which the budget did not suffice.
    """

    verdict: Verdict
    control: ControlSummary | None = None
    margins: dict[str, Margin] = field(default_factory=dict)
    point_of_no_return: int | None = None
    rewind: tuple[Orders, ...] = ()
    curvature: Curvature | None = None
    left_out: tuple[str, ...] = ()


def investigate(case: Case, not_exact: Sequence[str] = ()) -> Procedure[Finding]:
    """Find the cause of a break.

    Args:
        not_exact: sentences on what keeps replays from the recorded bits, as far as that is known before.
    """
    attempts = Attempts()
    controls = yield from attempts.make("control", case, find_controls(case))
    if controls is None:
        nothing = undecided("Not finished: control", (), (MORE,))
        return Finding(nothing, left_out=tuple(attempts.left_out))
    control = controls.summary(tuple(not_exact))
    if case.recovered_by is not None and controls.identical:
        return Finding(stated_recovered(case, case.recovered_by, controls), control)
    known = decide_by_control(case, controls, not_exact)
    if known is not None:
        return Finding(stated_by_control(known, case, controls, not_exact), control)
    found = Screening(controls)
    kind: Kind = "undecided"
    for back in _BACK:
        case = case.starting(back).with_jitter(controls.jitter)
        found = yield from _screening(case, controls, attempts)
        kind = decide(found)
        if kind != "undecided" or attempts.left_out or case.start == case.first:
            break
    if kind == "undecided" or (attempts.left_out and kind in LAST_RESORTS):
        return Finding(
            stated_undecided(found, attempts.left_out, tuple(attempts.partly.values())),
            control,
            left_out=tuple(attempts.left_out),
        )
    since = acting_from(kind, case, found)
    acts = max(case.first, since if kind in ("record", "data-shift") else case.at)
    margins = (yield from attempts.make("margins", case, find_margins(case, acts))) or {}
    verdict = stated(kind, since, case, found, margins)
    layers = yield from attempts.make("layers", case, find_layers(case, acts))
    if layers is not None:
        verdict = msgspec.structs.replace(
            verdict, chain=(*verdict.chain, *layers.chain), layers=verdict.layers or layers.layers
        )
    curvature = yield from attempts.make("curvature", case, measure_curvature(case, acts))
    last = yield from attempts.make("point of no return", case, find_point_of_no_return(case, acts))
    orders = yield from attempts.make("other data orders", case, find_orders(case, acts))
    return Finding(verdict, control, margins, last, orders or (), curvature, tuple(attempts.left_out))


def _screening(case: Case, controls: Controls, attempts: Attempts) -> Procedure[Screening]:
    """Make the deciding stages, as far as the budget goes."""
    data = yield from attempts.make("data", case, find_data(case))
    found = Screening(controls, data)
    if data is not None and found.few_batches:
        before = tuple(range(case.at, data.batches[0])) if data.batches[-1] - case.at < FEW else ()
        culprits = yield from attempts.make("records", case, find_culprits(case, data.batches, before))
        if culprits is not None and not culprits.complete:
            attempts.left_out.append("records")
        found = replace(found, culprits=culprits)
    factors = yield from attempts.make("settings", case, screen(case, data.cause if data is not None else None))
    found = replace(found, factors=factors or ())
    if decide(found) in ("record", "data-shift"):
        return found
    layers = yield from attempts.make("rates of layers", case, screen_layer_rates(case))
    found = replace(found, layers=layers)
    if is_near_start(case) and (case.from_weights or decide(found) == "undecided"):
        found = replace(found, start=(yield from attempts.make("start weights", case, find_start(case))))
    return found
