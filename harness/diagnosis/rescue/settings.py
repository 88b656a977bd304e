"""Candidates that change a setting of the solver or of a layer: from some iteration on, or for a stretch."""

from __future__ import annotations

import glob
import math
from collections.abc import Iterator, Sequence

import numpy as np

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.slower import holds_rate, slower
from harness.diagnosis.cause.stages.factors import USUAL_DECAY, USUAL_MOMENTUM, rises, usual_clip
from harness.diagnosis.cause.stages.layer_lr import alone_factor, alone_named
from harness.diagnosis.cause.trials import layer_rate
from harness.diagnosis.rescue.evidence import (
    breaks,
    cause_of,
    continuing,
    heals,
    no_value_survives,
    shown_by,
    stays,
    trials,
)
from harness.schemas.arm import AnyChange, HistoryScaled, LayerField, RateScaled, SolverField
from harness.schemas.explanation import ArmSummary, Explanation
from harness.schemas.rescue import Candidate, CandidateKind, Step

_ORDINARY = 400  # iterations before the break whose gradients are ordinary
_ROOM = 0.8  # of the highest rate with which one replay continued: near it, others break
_FACTORS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.003, 0.002, 0.001, 0.0005)  # of the rate
_BRIEFLY = 0.1  # of the rate: for a stretch, which costs little
_FURTHER = (0.3, 0.1)  # of a rate that is not low enough
_TENTH = "rate × 0.1"  # the trial of that name

Lowered = tuple[float, str, int]  # a factor of the learning rate, from what it was derived, and `Candidate.shown`


def clipped(case: Case, found: Explanation) -> Iterator[Candidate]:
    """Yield the candidate that clips gradients, at a threshold that ordinary iterations do not reach, if one helps."""
    threshold = _threshold(case, found)
    current = float(case.solver.clip_gradients)
    if threshold is None or 0 < current <= threshold[0]:
        return
    value, why, shown = threshold
    norms = _ordinary_norms(case, found)
    above = int(np.count_nonzero(norms > value))
    if not above:
        why += f"; none of the {norms.size:,} iterations before reaches it" if norms.size else ""
    else:
        why += f"; {above:,} of the {norms.size:,} iterations before reach{'es' if above == 1 else ''} it"
    yield _setting("clip", f"gradients clipped to {value:g}", "clip_gradients", value, why, shown)


def _threshold(case: Case, found: Explanation) -> tuple[float, str, int] | None:
    """Return the threshold, a clause on it, and `Candidate.shown`; None where none helps."""
    margin = found.margins.get("clip_gradients")
    screened = next(trials(found, "gradient-clipping"), None)
    if no_value_survives(margin) or (margin is None and breaks(screened)):
        return None
    norms = _ordinary_norms(case, found)
    largest = float(norms.max()) if norms.size else math.nan
    if margin is not None and margin.survives is not None:
        survives = margin.survives
        value = math.sqrt(largest * survives) if 0 < largest < survives else survives
        why = f"a replay with the threshold {survives:g} continues"
        if margin.breaks is not None:
            why += f", one with {margin.breaks:g} breaks"
        return float(f"{value:.3g}"), why, 0
    value = usual_clip(case)
    if not value:
        return None
    if screened is not None and heals(screened):
        return value, continuing(screened, "with it"), shown_by(screened)
    return value, "twice the usual norm of the gradient", 0


def _ordinary_norms(case: Case, found: Explanation) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    row = case.row(cause_of(case, found))
    norms = case.gradient_l2[max(0, row - _ORDINARY) : row]
    return norms[np.isfinite(norms)]


def lower_for_a_stretch(case: Case, found: Explanation) -> Iterator[Candidate]:
    """Yield the candidate that lowers the rate until the break is passed, and then raises it to what it was.

    Where the cause stays, it is left out: training would break later.

    It lasts as long as arms of the explanation, which are given the time to settle. The momentum follows the raised
    rate by itself, over 1 / (1 - momentum) iterations.
    """
    lowered = _lowered(case, found)
    if lowered is None or stays(case, found):
        return
    factor, why, _ = lowered
    tenth = _trial(found, _TENTH)
    if factor > _BRIEFLY and (tenth is None or not breaks(tenth)):
        factor, why = _BRIEFLY, why if tenth is None else continuing(tenth, "with a tenth of the rate")
    first, stop = case.start, case.until
    changes: tuple[AnyChange, ...] = (RateScaled(factor, first, stop),)
    if holds_rate(case.solver):
        changes = (*changes, HistoryScaled(factor))
    back = ("--set", f"base_lr={_digits(case.solver.base_lr)}")
    steps = (Step(_lower_words(case, factor), stop), Step(back))
    yield Candidate("stretch", f"rate × {factor:.3g} until {stop:,}, then as before", steps, changes, why)


def without_history(case: Case, found: Explanation) -> Iterator[Candidate]:
    """Yield the candidate that resets the momentum; for the types of solver whose steps do not become larger by that.

    Where the cause is a setting, it is left out: the momentum comes back.

    The history of the others has squares of the gradient, by which their steps are divided.
    """
    margin = found.margins.get("momentum")
    useless = no_value_survives(margin) and margin is not None and margin.breaks == 0
    is_setting = found.verdict.kind == "learning-rate" or stays(case, found)
    if not holds_rate(case.solver) or not 0 < case.momentum < 1 or useless or is_setting:
        return
    if case.at - case.start > 1 / (1 - case.momentum):  # by then it would have come back
        return
    why = f"training goes on at iteration {case.start:,} without the momentum of before"
    words = ("--history", "reset")
    yield Candidate("history", "momentum reset", (Step(words),), (HistoryScaled(0.0),), why)


def lower_for_a_layer(case: Case, found: Explanation) -> Iterator[Candidate]:
    """Yield the candidates that lower the rate of one layer: that of the verdict, or whose updates do the damage."""
    verdict = found.verdict
    names = verdict.layers if verdict.kind == "layer-lr" or len(verdict.layers) == 1 else ()
    for layer in names:
        if layer not in case.layers or len(case.layers) < 2:
            continue
        factor = alone_factor(case, layer)
        alone, withheld = _trial(found, alone_named(layer, factor)), _withheld(found, layer)
        if breaks(alone) or (alone is None and breaks(withheld)):
            continue
        if alone is not None:
            why = continuing(alone, "with it")
        else:
            why = f"the updates of {layer} do the damage"
            why += "" if withheld is None else ": " + continuing(withheld, "without them")
        changes = layer_rate(case.params, layer, factor)
        steps = (Step(_layer_words(layer, changes)),)
        yield Candidate("layer-rate", f"rate × {factor:.2g} for {layer}", steps, changes, why, shown_by(alone))


def usual_momentum(case: Case, found: Explanation) -> Iterator[Candidate]:
    """Yield the candidate with a lower momentum, where that of the run is the cause."""
    if found.verdict.kind != "momentum":
        return
    margin, tried = found.margins.get("momentum"), _trial(found, f"momentum {USUAL_MOMENTUM}")
    survives = margin.survives if margin is not None else None
    value = USUAL_MOMENTUM if survives is None else min(USUAL_MOMENTUM, survives)
    if value >= case.momentum:
        return
    shown = 0
    if tried is not None and value == USUAL_MOMENTUM:
        why, shown = continuing(tried, "with it"), shown_by(tried)
    else:
        why = "the usual momentum" if survives is None else "the highest momentum with which a replay continues"
    changes: tuple[AnyChange, ...] = (SolverField("momentum", repr(value)),)
    words: tuple[str, ...] = ("--set", f"momentum={value:g}")
    if holds_rate(case.solver):  # its history is 1 / (1 - momentum) gradients long
        changes, words = (*changes, HistoryScaled(0.0)), (*words, "--history", "reset")
    yield Candidate("momentum", f"momentum {value:g}", (Step(words),), changes, why, shown)


def usual_decay(case: Case, found: Explanation) -> Iterator[Candidate]:
    """Yield the candidate with the usual weight decay, where that of the run is the cause."""
    if found.verdict.kind != "weight-decay":
        return
    tried = _trial(found, f"weight decay {USUAL_DECAY}")
    why = "the usual weight decay" if tried is None else continuing(tried, "with it")
    yield _setting("decay", f"weight decay {USUAL_DECAY:g}", "weight_decay", USUAL_DECAY, why, shown_by(tried))


def lower_for_good(case: Case, found: Explanation) -> Iterator[Candidate]:
    """Yield the candidate that lowers the learning rate, with all of its schedule."""
    lowered = _lowered(case, found)
    if lowered is not None:
        yield _slower(case, *lowered)


def still_lower(case: Case, found: Explanation) -> Iterator[Candidate]:
    """Yield candidates with a learning rate that is lower than that, for where it is not low enough."""
    lowered = _lowered(case, found)
    if lowered is None:
        return
    factor, *_ = lowered
    for further in _FURTHER:
        yield _slower(case, further * factor, f"rate × {factor:.3g} is not low enough")


def _slower(case: Case, factor: float, why: str, shown: int = 0) -> Candidate:
    steps = (Step(_lower_words(case, factor)),)
    return Candidate("rate", f"rate × {factor:.3g}", steps, slower(case.solver, factor, case.start), why, shown)


def _lowered(case: Case, found: Explanation) -> Lowered | None:
    """Return how much to lower the rate; None where no rate helps, or it is 0 already."""
    margin, tenth = found.margins.get("learning_rate"), _trial(found, _TENTH)
    cause = case.at if found.verdict.iteration is None else found.verdict.iteration
    rate = case.rate_at(cause)
    if not rate > 0 or not case.rate_at(case.start) > 0 or no_value_survives(margin):
        return None
    if found.verdict.kind == "lr-schedule":
        for since, before in rises(case):
            held = next((arm for arm in trials(found, "lr-schedule") if heals(arm)), None)
            why = f"the rate of before iteration {since:,}"
            why += "" if held is None else ": " + continuing(held, "with it")
            return before / case.rate_at(case.at), why, shown_by(held)
    if margin is not None and margin.survives is not None:
        factor = next((f for f in _FACTORS if f <= _ROOM * margin.survives / rate), _FACTORS[-1])
        why = f"a replay at the rate {margin.survives:.3g} continues"
        if margin.breaks is not None:
            why += f", one at {margin.breaks:.3g} breaks"
        return factor, why, 0
    if breaks(tenth):
        return None
    why = "a tenth of the rate" if tenth is None else continuing(tenth, "with a tenth of the rate")
    return _BRIEFLY, why, shown_by(tenth)


def _lower_words(case: Case, factor: float) -> tuple[str, ...]:
    words = ("--set", f"base_lr={case.solver.base_lr * factor:.6g}")
    return (*words, "--history", "rescale") if holds_rate(case.solver) else words


def _setting(kind: CandidateKind, name: str, field: str, value: float, why: str, shown: int) -> Candidate:
    steps = (Step(("--set", f"{field}={value:g}")),)
    return Candidate(kind, name, steps, (SolverField(field, repr(value)),), why, shown)


def _layer_words(layer: str, changes: Sequence[LayerField]) -> tuple[str, ...]:
    """Return the options that set the rates of a layer: one for all of its params where they have the same."""
    fields = {change.field: float(change.value) for change in changes}
    if len(set(fields.values())) == 1:
        fields = {"lr_mult": next(iter(fields.values()))}
    settings = (f"{glob.escape(layer)}:{field}={value:g}" for field, value in fields.items())
    return tuple(word for setting in settings for word in ("--set-layer", setting))


def _trial(found: Explanation, name: str) -> ArmSummary | None:
    return next((arm for arm in found.arms if arm.name == name), None)


def _withheld(found: Explanation, layer: str) -> ArmSummary | None:
    """Return the trial in which the updates of one layer were withheld."""
    begins = f"updates of {layer} withheld from "
    return next((arm for arm in trials(found, "layer") if arm.name.startswith(begins)), None)


def _digits(value: float) -> str:
    """Write a float32 with as few digits as tell it."""
    return str(np.float32(value))
