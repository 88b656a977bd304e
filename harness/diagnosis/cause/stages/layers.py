"""Whose update does the damage: replays with the updates of some layers withheld."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.diagnosis.cause.case import BEFORE, Case
from harness.diagnosis.cause.observing import measure, seen
from harness.diagnosis.cause.stages.chain import observed, of_updates, of_withheld
from harness.diagnosis.cause.trials import Procedure, Seen, Trial
from harness.schemas.arm import Arm, ArmResult, UpdateWithheld
from harness.schemas.explanation import ChainLink

STAGE = "layers"
_ALONE = 4  # layers of which each is tried alone: those whose weights the cause changes most


@dataclass(frozen=True)
class LayerFinding:
    """What withheld updates gave.

    Attributes:
        layers: whose updates do the damage: those of which each alone suffices, or else the smallest set that was found
            of those that the cause changes most; empty where only all of them do, and where training breaks without any
            update.
        control: unchanged, with a look at all blobs.
        none: no layer is updated.
        only: trials with the updates of some layers only, in the order in which they were made.
        without: all but `layers` are updated; None if there are none, or no others.
        chain: from the cause to the damage.
    """

    layers: tuple[str, ...]
    control: Seen
    none: Seen
    only: tuple[Seen, ...] = ()
    without: Seen | None = None
    chain: tuple[ChainLink, ...] = ()


def find_layers(case: Case, cause: int) -> Procedure[LayerFinding]:
    """Find the layers whose updates, from iteration `cause` on, break the training.

    First all updates are withheld, and all but those of one layer, for the layers whose weights the update of `cause`
    changes most. If none of them suffices, sets of those are tried that double in size. What was found is then withheld
    while all others are updated: where that breaks as well, other layers do damage too.
    """
    start = max(case.first, cause - BEFORE)
    control_trial = Trial("unchanged, with a look at all blobs", "control", (_control_arm(case, start, cause),))
    results = yield from measure(STAGE, [control_trial])
    control = seen(case, control_trial, results)
    moves = relative_updates(case, control.results[0], cause)
    ranked = sorted(case.layers, key=lambda layer: -np.nan_to_num(moves[layer], posinf=math.inf))
    alone = [_only(case, cause, [layer]) for layer in ranked[:_ALONE]]
    nothing = _withheld(case, cause, case.layers, f"no updates from {cause:,}")
    results = yield from measure(STAGE, [nothing, *alone])
    none, *only = (seen(case, trial, results) for trial in (nothing, *alone))
    layers: tuple[str, ...] = ()
    if none.all_heal:
        layers = tuple(layer for layer, one in zip(ranked, only, strict=False) if one.all_break)
        if not layers:
            layers = yield from _smallest(case, cause, ranked, only)
    without = None
    if layers and len(layers) < len(ranked):
        trial = _withheld(case, cause, layers, f"updates of {_named(layers)} withheld from {cause:,}")
        without = seen(case, trial, (yield from measure(STAGE, [trial])))
    first, dead, end = observed(case, cause, control)
    links = [first]
    if none.all_heal:
        links.append(of_updates(cause, layers or ranked, moves, case.usual_steps, control))
        links += of_withheld(cause, none, only, without)
    chain = tuple(link for link in (*links, dead, end) if link is not None)
    return LayerFinding(layers, control, none, tuple(only), without, chain)


def relative_updates(case: Case, control: ArmResult, cause: int) -> dict[str, float]:
    """Return how large the update of iteration `cause` is in relation to the weights, by layer.

    Infinite if it is not finite; NaN if it is not known, without an iteration before.
    """
    row = cause - control.arm.start
    found = {}
    for layer in case.layers:
        updates = control.layer_update_l2.get(layer, ())
        usual = float(np.median(updates[:row])) if updates[:row] else math.nan
        now = updates[row] if row < len(updates) else math.inf
        relative = case.usual_steps.get(layer, math.nan) * now / usual if usual else math.nan
        found[layer] = relative if math.isfinite(now) else math.inf
    return found


def _control_arm(case: Case, start: int, cause: int) -> Arm:
    return Arm(start, cause - start + case.rest(cause), look=True)


def _only(case: Case, cause: int, layers: Sequence[str]) -> Trial:
    others = [layer for layer in case.layers if layer not in layers]
    return _withheld(case, cause, others, f"only {_named(layers)} updated from {cause:,}")


def _withheld(case: Case, cause: int, layers: Sequence[str], name: str) -> Trial:
    changes = tuple(UpdateWithheld(layer, cause) for layer in layers)
    return Trial(name, "layer", (Arm(cause, case.rest(cause), changes),))


def _smallest(case: Case, cause: int, ranked: Sequence[str], only: list[Seen]) -> Procedure[tuple[str, ...]]:
    """Return the fewest of the first layers whose updates break the training; none if only all do.

    No single one of them does.
    """
    few, many = 1, len(ranked)
    size = _ALONE
    while size < many:
        tried = yield from _tried(case, cause, ranked[:size], only)
        few, many = (few, size) if tried.all_break else (size, many)
        size *= 2
    while many - few > 1:
        middle = (few + many) // 2
        tried = yield from _tried(case, cause, ranked[:middle], only)
        few, many = (few, middle) if tried.all_break else (middle, many)
    return tuple(ranked[:many]) if many < len(ranked) else ()


def _tried(case: Case, cause: int, layers: Sequence[str], only: list[Seen]) -> Procedure[Seen]:
    trial = _only(case, cause, layers)
    found = seen(case, trial, (yield from measure(STAGE, [trial])))
    only.append(found)
    return found


def _named(layers: Sequence[str]) -> str:
    """Name one layer or two; of more, the first and their number."""
    return " and ".join(layers) if len(layers) <= 2 else f"{layers[0]} and {len(layers) - 1} more"
