"""The whole investigation of a break: the stages in their order, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from harness.diagnosis.cause import sentences
from harness.diagnosis.cause.brakes import find_point_of_no_return
from harness.diagnosis.cause.case import BEFORE, Case
from harness.diagnosis.cause.controls import Controls, find_controls
from harness.diagnosis.cause.curvature import measure_curvature
from harness.diagnosis.cause.data import FEW, find_data, first_unlike
from harness.diagnosis.cause.deciding import Screening, decide, decide_by_control
from harness.diagnosis.cause.factors import screen
from harness.diagnosis.cause.layer_lr import screen_layer_rates
from harness.diagnosis.cause.layers import find_layers
from harness.diagnosis.cause.margins import find_margins
from harness.diagnosis.cause.orders import find_orders
from harness.diagnosis.cause.records import find_culprits
from harness.diagnosis.cause.start_weights import find_start, is_near_start
from harness.diagnosis.cause.trials import Found, OutOfBudget, Procedure, Seen
from harness.schemas.explanation import (
    ChainLink,
    Condition,
    ControlSummary,
    Curvature,
    Kind,
    Margin,
    Orders,
    Verdict,
)

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
    left_out: list[str] = []
    controls = yield from _attempt("control", find_controls(case), left_out)
    if controls is None:
        nothing = _undecided("No unchanged replay was finished", (), ("a larger budget",))
        return Finding(nothing, left_out=tuple(left_out))
    control = controls.summary(tuple(not_exact))
    known = decide_by_control(case, controls, not_exact)
    if known is not None:
        return Finding(_by_control(known, case, controls, not_exact), control)
    found = Screening(controls)
    kind: Kind = "undecided"
    for back in _BACK:
        case = case.starting(back).with_jitter(controls.jitter)
        found = yield from _screening(case, controls, left_out)
        kind = decide(found)
        if kind != "undecided" or left_out or case.start == case.first:
            break
    if kind == "undecided":
        return Finding(_nothing_heals(found, left_out), control, left_out=tuple(left_out))
    cause = _iteration(kind, case, found)
    acts = max(case.first, cause if kind in ("record", "data-shift") else case.at)
    margins = (yield from _attempt("margins", find_margins(case, acts), left_out)) or {}
    verdict = _verdict(kind, cause, case, found, margins)
    layers = yield from _attempt("layers", find_layers(case, acts), left_out)
    if layers is not None:
        verdict = msgspec.structs.replace(verdict, chain=layers.chain, layers=verdict.layers or layers.layers)
    curvature = yield from _attempt("curvature", measure_curvature(case, acts), left_out)
    last = yield from _attempt("point of no return", find_point_of_no_return(case, acts), left_out)
    orders = yield from _attempt("other data orders", find_orders(case, acts), left_out)
    return Finding(verdict, control, margins, last, orders or (), curvature, tuple(left_out))


def _attempt(stage: str, procedure: Procedure[Found], left_out: list[str]) -> Procedure[Found | None]:
    """Return what a stage finds; None if the budget does not suffice, and then add it to `left_out`."""
    try:
        return (yield from procedure)
    except OutOfBudget:
        left_out.append(stage)
        return None


def _screening(case: Case, controls: Controls, left_out: list[str]) -> Procedure[Screening]:
    """Make the deciding stages, as far as the budget goes."""
    data = yield from _attempt("data", find_data(case), left_out)
    found = Screening(controls, data)
    if data is not None and found.few_batches:
        near = tuple(range(min(case.at, data.batches[0]), data.batches[-1] + 1))
        suspected = near if len(near) <= FEW else data.batches
        culprits = yield from _attempt("records", find_culprits(case, suspected), left_out)
        if culprits is not None and not culprits.complete:
            left_out.append("records")
        found = replace(found, culprits=culprits)
    factors = yield from _attempt("settings", screen(case), left_out)
    found = replace(found, factors=factors or ())
    if decide(found) in ("record", "data-shift"):
        return found
    layers = yield from _attempt("rates of layers", screen_layer_rates(case), left_out)
    found = replace(found, layers=layers)
    if is_near_start(case) and (case.from_weights or decide(found) == "undecided"):
        found = replace(found, start=(yield from _attempt("start weights", find_start(case), left_out)))
    return found


def _by_control(kind: Kind, case: Case, controls: Controls, not_exact: Sequence[str]) -> Verdict:
    """State what the unchanged replays decide."""
    seen = controls.unchanged
    link = sentences.of_control(controls)
    share = seen.heals / len(seen.judgements)
    if kind == "none":
        sentence = (
            f"Training did not break at iteration {case.at:,}: unchanged, {sentences.counted(seen, seen.heals)} "
            "end at the level of before"
        )
        return Verdict("none", f"{sentence}.", share, evidence=(link,))
    if kind == "machine":
        first = controls.first_difference
        sentence = (
            f"The training itself did not break: from iteration {first:,} on, the recorded weights are not those that "
            f"it computes. Unchanged replays agree with each other, and continue ({sentences.counted(seen, seen.heals)}"
            "). Something outside of the training changed the weights: memory, processor, or another process"
        )
        return Verdict("machine", f"{sentence}.", share, iteration=first, evidence=(link,))
    if not_exact:
        why = " ".join(not_exact)
        return _undecided(
            f"Replays have other bits than the recording, and do not break. {why}",
            (link,),
            ("replays on a machine and with libraries like those of the run",),
        )
    return _undecided("Unchanged replays do not repeat what was recorded", (link,), ("a longer horizon",))


def _undecided(sentence: str, evidence: tuple[ChainLink, ...], would_decide: tuple[str, ...]) -> Verdict:
    text = f"The cause is not decided. {sentence.rstrip('.')}."
    return Verdict("undecided", text, evidence=evidence, would_decide=would_decide)


def _nothing_heals(found: Screening, left_out: Sequence[str]) -> Verdict:
    tried = [sentences.of_control(found.controls)]
    tried += sentences.of_other_data(found.data) if found.data is not None else []
    if left_out:
        return _undecided(f"Not finished: {sentences.listed(left_out)}", tuple(tried), ("a larger budget",))
    return _undecided("Nothing that was changed alone heals", tuple(tried), ("an earlier snapshot",))


def _verdict(kind: Kind, iteration: int, case: Case, found: Screening, margins: Mapping[str, Margin]) -> Verdict:
    primary = found.factor(kind)
    evidence = tuple(_evidence(kind, found))
    conditions = tuple(_conditions(kind, found, margins))
    layers = _layers(kind, found)
    records = found.culprits.needed if kind == "record" and found.culprits is not None else ()
    clause = sentences.cause(kind, iteration, case, found.data, records, primary, layers)
    requires = [condition.sentence for condition in conditions]
    return Verdict(
        kind,
        sentences.paragraph(clause, evidence, requires),
        confidence=_confidence(evidence, found),
        iteration=iteration,
        records=records,
        layers=layers,
        conditions=conditions,
        evidence=(sentences.of_control(found.controls), *evidence),
    )


def _layers(kind: Kind, found: Screening) -> tuple[str, ...]:
    if kind == "start-weights" and found.start is not None:
        return found.start.layers
    if kind == "layer-lr" and found.layers is not None and found.layers.layer is not None:
        return (found.layers.layer,)
    return ()


def _evidence(kind: Kind, found: Screening) -> Iterator[ChainLink]:
    data, primary = found.data, found.factor(kind)
    if kind in ("record", "data-shift"):
        assert data is not None
        sets = found.culprits.sets if found.culprits is not None and found.culprits.needed else None
        if kind == "data-shift":
            yield from sentences.of_stream(data)
        elif sets is not None:
            yield from sentences.of_records(sets)
        else:
            yield from sentences.of_batches(data)
        return
    if primary is not None:
        yield from sentences.of_factor(primary)
    if kind == "start-weights" and found.start is not None:
        yield from sentences.of_start(found.start)
    if kind == "layer-lr" and found.layers is not None:
        yield from sentences.of_layer_rates(found.layers)
    if data is not None:
        yield from sentences.of_other_data(data)


def _conditions(kind: Kind, found: Screening, margins: Mapping[str, Margin]) -> Iterator[Condition]:
    """Yield what the break needs besides its cause: each setting that heals."""
    for factor in found.factors:
        if factor.heals and factor.factor.kind != kind and not _is_same(factor.factor.kind, kind):
            sentence = sentences.requirement(factor, margins)
            yield Condition(factor.factor.kind, sentence, (factor.seen.trial.name,))


def _is_same(condition: str, kind: Kind) -> bool:
    """Check whether a condition says no more than the kind of the break itself does."""
    return condition == "learning-rate" and kind in ("lr-schedule", "layer-lr")


def _iteration(kind: Kind, case: Case, found: Screening) -> int:
    """Return the iteration at which the cause acts first."""
    if kind in ("record", "data-shift") and found.data is not None and found.data.cause is not None:
        return found.data.cause if kind == "record" else first_unlike(case, min(case.at, found.data.cause))
    primary = found.factor(kind)
    if kind == "lr-schedule" and primary is not None and primary.factor.since is not None:
        return primary.factor.since
    return case.began if kind == "start-weights" else case.at


def _confidence(evidence: Sequence[ChainLink], found: Screening) -> float | None:
    """Return the share of arms that agree with the claims that rest on them."""
    agree: list[tuple[int, int]] = []
    named = {name for link in evidence for name in link.trials}
    for seen in _all(found):
        if seen.trial.name in named:
            agree.append((max(seen.breaks, seen.heals), len(seen.judgements)))
    total = sum(count for _, count in agree)
    return sum(number for number, _ in agree) / total if total else None


def _all(found: Screening) -> Iterator[Seen]:
    data = found.data
    if data is not None:
        yield from (
            seen
            for seen in (data.near, data.far, data.skipped, data.kept, data.moved, *data.searched)
            if seen is not None
        )
    for factor in found.factors:
        yield factor.seen
        if factor.placebo is not None:
            yield factor.placebo
    if found.culprits is not None and found.culprits.sets is not None:
        sets = found.culprits.sets
        yield from (seen for seen in (sets.replaced, sets.placebo, sets.elsewhere) if seen is not None)
        yield from (tried.seen for tried in sets.subsets)
    if found.start is not None:
        yield from found.start.tried
    if found.layers is not None:
        yield from found.layers.alone.values()
        if found.layers.others is not None:
            yield found.layers.others
