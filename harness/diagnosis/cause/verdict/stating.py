"""State verdicts: what a finding says in words, with its evidence, conditions and confidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.stages.chain import of_records
from harness.diagnosis.cause.stages.controls import Controls
from harness.diagnosis.cause.stages.data import data_began
from harness.diagnosis.cause.trials import Seen
from harness.diagnosis.cause.verdict import sentences, trial_claims
from harness.diagnosis.cause.verdict.deciding import Screening
from harness.diagnosis.cause.verdict.trial_claims import Claim, counted
from harness.schemas.explanation import ChainLink, Condition, Kind, Margin, Verdict

MORE = "a larger budget: the same command goes on with the replays that are stored"


def stated(kind: Kind, iteration: int, case: Case, found: Screening, margins: Mapping[str, Margin]) -> Verdict:
    """State the cause, which acts from `iteration` on, with its evidence and its conditions."""
    claims = tuple(_evidence(kind, found))
    conditions = tuple(_conditions(kind, found, margins))
    records = found.responsible_records(kind)
    requires = [condition.sentence for condition in conditions]
    return Verdict(
        kind,
        sentences.paragraph(sentences.cause(kind, iteration, case, found), claims, requires),
        confidence=_confidence(claims),
        iteration=iteration,
        records=records,
        chain=() if (first := of_records(records)) is None else (first,),
        layers=found.responsible_layers(kind),
        conditions=conditions,
        evidence=tuple(claim.link for claim in (trial_claims.of_control(found.controls), *claims)),
    )


def stated_recovered(case: Case, by: int, controls: Controls) -> Verdict:
    """State that what was recorded is no break, since the loss is back by an iteration, and is what is computed."""
    when = f"at the end of the run, iteration {by:,}" if by == case.last else f"by iteration {by:,}"
    sentence = (
        f"Training did not break at iteration {case.at:,}: {when}, the loss is near its level of before, or below it"
    )
    return Verdict("none", f"{sentence}.", 1.0, evidence=(trial_claims.of_control(controls).link,))


def stated_without_onset(never_learned: bool, loss: float, sizes: Mapping[str, float]) -> Verdict:
    """State that a run has no onset: nothing broke, or the training never learned.

    Args:
        never_learned: since the start of the run, the loss has not fallen, or was at chance level.
        loss: at its end.
        sizes: of the layers whose weights were unusually large or small at the start.
    """
    if not never_learned:
        return Verdict("none", "Training did not break, or it recovered: there is no onset.")
    sentence = (
        f"Training did not break, for it has learned nothing so far: at the end of the run the loss is {loss:.3g}."
    )
    if sizes:
        sentence += f" The weights that it began with are suspected: {sentences.sizes_named(sizes)}."
    return Verdict("none", sentence)


def stated_by_control(kind: Kind, case: Case, controls: Controls, not_exact: Sequence[str]) -> Verdict:
    """State what the unchanged replays decide: "none", "machine", or that they decide nothing."""
    seen = controls.unchanged
    link, share = trial_claims.of_control(controls).link, seen.heals / len(seen.judgements)
    first, continue_in = controls.first_difference, counted(seen, seen.heals)
    if kind == "none":
        sentence = (
            f"Training did not break at iteration {case.at:,}, or it recovered: unchanged, it continues "
            f"({continue_in})."
        )
        return Verdict("none", sentence, share, evidence=(link,))
    if kind == "machine":
        sentence = (
            f"The training itself did not break: from iteration {first:,} on, the recorded weights are not those that "
            f"it computes. Unchanged replays agree with each other, and continue ({continue_in}). Something outside of "
            "the training must have changed the weights: memory, processor, or another process."
        )
        return Verdict("machine", sentence, share, iteration=first, evidence=(link,))
    failed = [result.why for result in seen.results if result.ended in ("died", "refused")]
    if failed:
        sentence, would_decide = (
            f"An unchanged replay was not finished: {failed[0]}",
            "unchanged replays that are finished",
        )
    elif controls.outcome == "not known":
        sentence = (
            f"Unchanged, it breaks in {counted(seen, seen.breaks)} and continues in {seen.heals}: there is "
            "nothing to compare with"
        )
        would_decide = "another iteration (--at), or a recording that goes on for longer after the break"
    elif not_exact:
        sentence = f"Replays have other bits than the recording, and do not break. {' '.join(not_exact)}"
        would_decide = "replays on a machine and with libraries like those of the run"
    elif not controls.agree:
        sentence = "Unchanged replays do not break, and differ from each other"
        would_decide = "replays that repeat each other bit for bit"
    else:
        sentence = f"Unchanged replays do not break, and have other weights than recorded from iteration {first:,} on"
        would_decide = "a replay from an earlier snapshot"
    return undecided(sentence, (link,), (would_decide,))


def stated_undecided(found: Screening, left_out: Sequence[str], partly: Sequence[Seen]) -> Verdict:
    """State that no cause was found, and which changes healed.

    Args:
        left_out: the stages that were not finished.
        partly: the trials of these that were.
    """
    claims = [trial_claims.of_control(found.controls)]
    claims += trial_claims.of_other_data(found.data) if found.data is not None else []
    healing = [factor for factor in found.factors if factor.heals]
    claims += [claim for factor in healing for claim in trial_claims.of_factor(factor)]
    so_far = tuple(trial_claims.of_unfinished(found.data, partly)) if left_out else ()
    evidence = tuple(claim.link for claim in (*claims, *so_far))
    if left_out:
        known = f". So far: {sentences.joined(so_far, lower_first=True)}" if so_far else ""
        return undecided(f"Not finished: {sentences.listed(left_out)}{known}", evidence, (MORE,))
    if found.anything_heals:
        jittered = found.controls.jittered[-1]
        why = f"Training breaks from exactly these weights only: with {jittered.trial.name}, it continues"
        often = counted(jittered, jittered.heals)
        return undecided(f"{why} ({often})", evidence, ("an iteration (--at) nearer to where it breaks",))
    return undecided("Nothing that was changed alone heals", evidence, ("an earlier snapshot",))


def undecided(sentence: str, evidence: tuple[ChainLink, ...], would_decide: tuple[str, ...]) -> Verdict:
    """State that the cause is not known, why, and what would decide it."""
    text = f"The cause is not decided. {sentence.rstrip('.')}."
    return Verdict("undecided", text, evidence=evidence, would_decide=would_decide)


def acting_from(kind: Kind, case: Case, found: Screening) -> int:
    """Return the iteration at which the cause acts first."""
    if kind in ("record", "data-shift") and found.data is not None and found.data.cause is not None:
        return found.data.cause if kind == "record" else data_began(case, found.data.cause)
    primary = found.factor(kind)
    if kind == "lr-schedule" and primary is not None and primary.factor.since is not None:
        return primary.factor.since
    return case.began if kind == "start-weights" else case.at


def _evidence(kind: Kind, found: Screening) -> Iterator[Claim]:
    """Yield what shows that it was that kind."""
    data, primary = found.data, found.factor(kind)
    if kind in ("record", "data-shift"):
        assert data is not None
        sets = found.culprits.sets if found.culprits is not None and found.culprits.needed else None
        if kind == "data-shift":
            yield from trial_claims.of_stream(data)
        elif sets is not None:
            yield from trial_claims.of_records(sets)
        else:
            yield from trial_claims.of_batches(data)
        return
    if primary is not None:
        yield from trial_claims.of_factor(primary)
    if kind == "start-weights" and found.start is not None:
        yield from trial_claims.of_start(found.start)
    if kind == "layer-lr" and found.layers is not None:
        yield from trial_claims.of_layer_rates(found.layers)
    if data is not None:
        yield from trial_claims.of_other_data(data)


def _conditions(kind: Kind, found: Screening, margins: Mapping[str, Margin]) -> Iterator[Condition]:
    """Yield what the break needs besides its cause: each kind of setting once."""
    healing = {one.factor.kind: one for one in reversed(found.factors) if one.is_needed}
    for condition, one in reversed(healing.items()):
        if condition != kind and not _is_same(condition, kind):
            yield Condition(condition, sentences.requirement(one, margins), (one.seen.trial.name,))


def _is_same(condition: str, kind: Kind) -> bool:
    """Check whether a condition says no more than the kind of the break itself does."""
    return condition == "learning-rate" and kind in ("lr-schedule", "layer-lr")


def _confidence(claims: Sequence[Claim]) -> float | None:
    """Return the share of the arms behind claims that agree with them."""
    total = sum(len(claim.seen.judgements) for claim in claims)
    return sum(claim.agree for claim in claims) / total if total else None
