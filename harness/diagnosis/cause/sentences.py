"""Say what broke a training, and what shows it, in words: each claim with its counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.controls import Controls
from harness.diagnosis.cause.culprit_sets import SetTests
from harness.diagnosis.cause.data import DataFinding, batches_named, batches_replaced
from harness.diagnosis.cause.factors import Screened
from harness.diagnosis.cause.layer_lr import LayerRates
from harness.diagnosis.cause.start_weights import StartFinding
from harness.diagnosis.cause.trials import Seen
from harness.schemas.explanation import ChainLink, CulpritRecord, Margin, Verdict

_NAMED = 4  # records whose keys a sentence has


def counted(seen: Seen, number: int) -> str:
    """Return `number` of the arms of a trial in words: "3 of 3 replays"."""
    total = len(seen.judgements)
    return f"{number} of {total} {'replay' if total == 1 else 'replays'}"


def heals(what: str, seen: Seen) -> ChainLink:
    """State how often training continues with something changed."""
    return ChainLink(f"{what}, training continues ({counted(seen, seen.heals)})", (seen.trial.name,))


def breaks(what: str, seen: Seen, again: str = "breaks") -> ChainLink:
    """State how often training breaks with something changed."""
    return ChainLink(f"{what}, it {again} ({counted(seen, seen.breaks)})", (seen.trial.name,))


def of_control(controls: Controls) -> ChainLink:
    """State what the unchanged replays did."""
    seen = controls.unchanged
    if controls.identical:
        bits = f"with the recorded weights at each of {controls.compared:,} iterations"
    elif controls.first_difference is not None:
        bits = f"with other weights than recorded from iteration {controls.first_difference:,} on"
    else:
        bits = "of which no recorded digest could be compared"
    return ChainLink(f"Unchanged, {bits}, it breaks in {counted(seen, seen.breaks)}", (seen.trial.name,))


def of_batches(data: DataFinding) -> Iterator[ChainLink]:
    """State which batches the break needs: few of them."""
    if data.cause is None or data.width is None or data.skipped is None:
        return
    which = batches_named(data.cause, data.width)
    yield heals(f"With other batches in place of {which}", data.skipped)
    if data.kept is not None:
        yield breaks(f"With all batches but {which} replaced", data.kept, "still breaks")


def of_records(found: SetTests) -> Iterator[ChainLink]:
    """State what becomes of the training with and without the culprit records."""
    one = found.count == 1
    yield heals(f"With {'another record in its place' if one else 'other records in their place'}", found.replaced)
    if found.elsewhere is not None:
        what = "Placed in other batches, it breaks those" if one else "Placed in other batches, they break those"
        count = counted(found.elsewhere, found.elsewhere.breaks)
        yield ChainLink(f"{what} as well ({count})", (found.elsewhere.trial.name,))
    if found.placebo is not None:
        yield breaks(f"With {found.placebo.trial.name}", found.placebo, "still breaks")
    if found.suffice is not None and found.suffice < found.count:
        enough = next(tried.seen for tried in found.subsets if tried.size == found.suffice)
        what = "1 of them is" if found.suffice == 1 else f"{found.suffice} of them are"
        yield ChainLink(f"{what} enough ({counted(enough, enough.breaks)})", (enough.trial.name,))


def of_stream(data: DataFinding) -> Iterator[ChainLink]:
    """State that the break needs the data from some iteration on."""
    first = data.far if data.far is not None and not data.near.all_heal else data.near
    yield heals(f"With {first.trial.name}", first)
    if data.moved is not None:
        yield breaks(f"With {data.moved.trial.name}", data.moved, "breaks there")
    narrow = [seen for seen in data.searched if seen.trial.kind == "record" and seen.breaks > seen.heals]
    if narrow:
        widest = max(narrow, key=batches_replaced)
        yield breaks(f"With only {widest.trial.name}", widest, "breaks")


def of_factor(found: Screened) -> Iterator[ChainLink]:
    """State what a setting does."""
    yield heals(f"With {_with_article(found)}", found.seen)
    if found.placebo is not None:
        yield breaks("Unchanged from the same start", found.placebo)


def of_other_data(data: DataFinding) -> Iterator[ChainLink]:
    """State that other data break as well."""
    for seen in (data.near, data.far):
        if seen is not None and seen.breaks:
            yield breaks(f"With {seen.trial.name}", seen, "breaks as well")


def of_start(found: StartFinding) -> Iterator[ChainLink]:
    """State what other start weights do."""
    for seen in found.tried:
        if seen.all_heal:
            yield heals(f"With {seen.trial.name}", seen)


def of_layer_rates(found: LayerRates) -> Iterator[ChainLink]:
    """State that a lower rate of one layer heals, and of the others not."""
    if found.layer is None:
        return
    alone = found.alone[found.layer]
    yield heals(f"With the {alone.trial.name}", alone)
    if found.others is not None:
        yield breaks("With a tenth of the rate for all other layers", found.others, "still breaks")


def requirement(found: Screened, margins: Mapping[str, Margin]) -> str:
    """State what the break needs besides its cause, with the margin where that is known."""
    factor = found.factor
    match factor.kind:
        case "learning-rate":
            margin = margins.get("learning_rate", Margin())
            return f"a learning rate above {factor.tried if margin.survives is None else margin.survives:.3g}"
        case "lr-schedule":
            return f"that the learning rate was raised from {factor.tried:.3g} to {factor.value:.3g}"
        case "gradient-clipping":
            margin = margins.get("clip_gradients", Margin())
            return f"no gradient clipping at {factor.tried if margin.survives is None else margin.survives:.3g} or less"
        case "momentum":
            margin = margins.get("momentum", Margin())
            return f"a momentum above {factor.tried if margin.survives is None else margin.survives:.4g}"
        case _:
            return f"a weight decay above {factor.tried:g}"


def _with_article(found: Screened) -> str:
    words = found.seen.trial.name
    return f"the {words}" if words.startswith(("rate", "gradient")) else words


def records_named(records: Sequence[CulpritRecord]) -> str:
    """Name culprit records, by their keys where these are known: "the record cat_7.jpg in the batch of 841"."""
    batches = list(dict.fromkeys(record.iteration for record in records))
    where = f"in the batch{'es' if len(batches) > 1 else ''} of {listed([f'{t:,}' for t in batches])}"
    keys = [record.key for record in records if record.key]
    if len(keys) < len(records):
        keys = [f"at position {record.index}" for record in records]
    if len(records) == 1:
        return f"The record {keys[0]} {where}"
    some = listed(keys) if len(keys) <= _NAMED else f"{', '.join(keys[: _NAMED - 1])}, … {keys[-1]}"
    return f"The {len(records)} records {some} {where}"


def with_keys(verdict: Verdict, records: tuple[CulpritRecord, ...]) -> Verdict:
    """Return a verdict with `records`, whose keys are known, as its culprit records, in its sentence as well."""
    if not records:
        return verdict
    rest = verdict.sentence.removeprefix(records_named(verdict.records))
    return msgspec.structs.replace(verdict, records=records, sentence=f"{records_named(records)}{rest}")


def cause(
    kind: str,
    iteration: int,
    case: Case,
    data: DataFinding | None,
    records: Sequence[CulpritRecord],
    found: Screened | None,
    layers: Sequence[str],
) -> str:
    """Name the cause, which acts from `iteration` on, in one clause, without the evidence."""
    names = listed(layers)
    match kind:
        case "record":
            return f"{records_named(records)} broke it" if records else f"The {_which(data)} broke it"
        case "data-shift":
            return f"The data from iteration {iteration:,} on broke it"
        case "lr-schedule":
            assert found is not None
            factor = found.factor
            return (
                f"The learning rate broke it, which the schedule raised from {factor.tried:.3g} to {factor.value:.3g}"
                + (f" by iteration {factor.since:,}" if factor.since is not None else "")
            )
        case "learning-rate":
            rate = case.rate_at(case.at)
            return f"The learning rate of {rate:.3g} is too high for this training, whatever data it reads"
        case "layer-lr":
            return f"The learning rate of layer {names} broke it"
        case "momentum":
            effective = case.rate_at(case.at) / (1 - case.momentum)
            return f"The momentum of {case.momentum:g} broke it (effective rate {effective:.3g})"
        case "weight-decay":
            return f"The weight decay of {case.solver.weight_decay:g} broke it"
        case "start-weights":
            return (
                f"The weights of {names} with which training began broke it"
                if layers
                else "The history with which training was resumed broke it"
            )
        case _:
            return "The cause is not decided"


def _which(data: DataFinding | None) -> str:
    if data is None or data.cause is None or data.width is None:
        return "batch"
    return batches_named(data.cause, data.width)


def listed(names: Sequence[str]) -> str:
    """Join names: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def paragraph(sentence: str, evidence: Sequence[ChainLink], requires: Sequence[str]) -> str:
    """Join the cause, its evidence and its conditions."""
    parts = [f"{sentence}."]
    if evidence:
        parts.append("; ".join(_lower(link.sentence, number) for number, link in enumerate(evidence)) + ".")
    if requires:
        parts.append(f"This requires {listed(requires)}.")
    return " ".join(parts)


def _lower(sentence: str, number: int) -> str:
    return sentence if number == 0 else sentence[0].lower() + sentence[1:]
