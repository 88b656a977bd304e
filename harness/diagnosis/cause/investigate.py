"""The whole investigation of a break: the stages in their order, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from harness.diagnosis.cause import sentences
from harness.diagnosis.cause.case import BEFORE, Case
from harness.diagnosis.cause.controls import Controls, find_controls
from harness.diagnosis.cause.data import find_data, first_unlike
from harness.diagnosis.cause.deciding import Screening, decide, decide_by_control
from harness.diagnosis.cause.factors import Screened, screen
from harness.diagnosis.cause.start_weights import find_start, is_near_start
from harness.diagnosis.cause.trials import OutOfBudget, Procedure, Seen
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
    try:
        controls = yield from find_controls(case)
    except OutOfBudget:
        return Finding(_undecided("No unchanged replay was finished", (), ("a larger budget",)), left_out=("control",))
    control = controls.summary(tuple(not_exact))
    known = decide_by_control(case, controls, not_exact)
    if known is not None:
        return Finding(_by_control(known, case, controls, not_exact), control)
    for back in _BACK:
        case = case.starting(back).with_jitter(controls.jitter)
        found, left_out = yield from _screening(case, controls)
        kind = decide(found)
        if kind != "undecided" or left_out or case.start == case.first:
            break
    verdict = _verdict(kind, case, found)
    return Finding(verdict, control, left_out=left_out)


def _screening(case: Case, controls: Controls) -> Procedure[tuple[Screening, tuple[str, ...]]]:
    """Make the deciding stages, as far as the budget goes."""
    found = Screening(controls)
    try:
        found = replace(found, data=(yield from find_data(case)))
        found = replace(found, factors=(yield from screen(case)))
        if is_near_start(case) and (case.from_weights or decide(found) == "undecided") and not found.data_heal:
            found = replace(found, start=(yield from find_start(case)))
    except OutOfBudget:
        made = ["data"] * (found.data is not None) + ["screening"] * bool(found.factors)
        return found, tuple(stage for stage in ("data", "screening", "start weights") if stage not in made)
    return found, ()


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


def _verdict(kind: Kind, case: Case, found: Screening) -> Verdict:
    primary = found.factor(kind)
    evidence = tuple(_evidence(kind, found))
    conditions = tuple(_conditions(kind, found))
    layers = found.start.layers if kind == "start-weights" and found.start else ()
    if kind == "undecided":
        tried = [sentences.of_control(found.controls)]
        tried += sentences.of_other_data(found.data) if found.data is not None else []
        return _undecided("Nothing that was changed alone heals", tuple(tried), ("an earlier snapshot",))
    iteration = _iteration(kind, case, found)
    clause = sentences.cause(kind, iteration, case, found.data, primary, layers)
    requires = [condition.sentence for condition in conditions]
    return Verdict(
        kind,
        sentences.paragraph(clause, evidence, requires),
        confidence=_confidence(evidence, found),
        iteration=iteration,
        layers=layers,
        conditions=conditions,
        evidence=(sentences.of_control(found.controls), *evidence),
    )


def _evidence(kind: Kind, found: Screening) -> Iterator[ChainLink]:
    data, primary = found.data, found.factor(kind)
    if kind in ("record", "data-shift"):
        assert data is not None
        yield from sentences.of_batches(data) if kind == "record" else sentences.of_stream(data)
        return
    if primary is not None:
        yield from sentences.of_factor(primary)
    if kind == "start-weights" and found.start is not None:
        yield from sentences.of_start(found.start)
    if data is not None:
        yield from sentences.of_other_data(data)


def _conditions(kind: Kind, found: Screening) -> Iterator[Condition]:
    """Yield what the break needs besides its cause: each setting that heals."""
    for factor in found.factors:
        if factor.heals and factor.factor.kind != kind:
            yield Condition(factor.factor.kind, _requirement(factor), (factor.seen.trial.name,))


def _requirement(found: Screened) -> str:
    factor = found.factor
    match factor.kind:
        case "learning-rate" | "lr-schedule":
            return f"a learning rate above {factor.tried:.3g}"
        case "gradient-clipping":
            return f"no gradient clipping at {factor.tried:g}"
        case "momentum":
            return f"a momentum above {factor.tried:g}"
        case _:
            return f"a weight decay above {factor.tried:g}"


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
        yield from (seen for seen in (data.near, data.far, data.skipped, data.kept, *data.searched) if seen is not None)
    for factor in found.factors:
        yield factor.seen
        if factor.placebo is not None:
            yield factor.placebo
    if found.start is not None:
        yield from found.start.tried
