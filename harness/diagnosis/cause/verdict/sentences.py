"""Say what broke a training, and what shows it, in words: each claim with its counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.records.culprit_sets import SetTests
from harness.diagnosis.cause.stages.controls import Controls
from harness.diagnosis.cause.stages.data import DataFinding, batches_named, batches_replaced
from harness.diagnosis.cause.stages.factors import Screened
from harness.diagnosis.cause.stages.layer_lr import LayerRates
from harness.diagnosis.cause.stages.start_weights import StartFinding
from harness.diagnosis.cause.trials import Seen
from harness.diagnosis.cause.verdict.deciding import Screening
from harness.schemas.explanation import ChainLink, CulpritRecord, Kind, Margin, Verdict

_NAMED = 4  # records whose keys a sentence has


@dataclass(frozen=True)
class Claim:
    """What a trial showed, as a clause. `agree`: of its arms, those that did what the verdict says they do."""

    sentence: str
    seen: Seen
    agree: int

    @property
    def link(self) -> ChainLink:
        """Return it as explain.json has it."""
        return ChainLink(self.sentence, (self.seen.trial.name,))


def counted(seen: Seen, number: int) -> str:
    """Return `number` of the arms of a trial in words: "3 of 3 replays"."""
    total = len(seen.judgements)
    return f"{number} of {total} {'replay' if total == 1 else 'replays'}"


def heals(what: str, seen: Seen) -> Claim:
    """State how often training continues with something changed."""
    continues = "training continues" if seen.heals else "training does not continue"
    return Claim(f"{what}, {continues} ({counted(seen, seen.heals)})", seen, seen.heals)


def breaks(what: str, seen: Seen, again: str = "breaks") -> Claim:
    """State how often training breaks with something changed; `again` is the verb."""
    return Claim(
        f"{what}, it {again if seen.breaks else 'does not break'} ({counted(seen, seen.breaks)})", seen, seen.breaks
    )


def of_control(controls: Controls) -> Claim:
    """State what the unchanged replays did."""
    seen = controls.unchanged
    if controls.identical:
        bits = f"with the recorded weights at each of {controls.compared:,} iterations"
    elif controls.first_difference is not None:
        bits = f"with other weights than recorded from iteration {controls.first_difference:,} on"
    else:
        bits = "of which no recorded digest could be compared"
    return Claim(f"Unchanged, {bits}, it breaks in {counted(seen, seen.breaks)}", seen, seen.breaks)


def of_batches(data: DataFinding) -> Iterator[Claim]:
    """State which batches the break needs: few of them."""
    if data.cause is None or data.width is None or data.skipped is None:
        return
    which = batches_named(data.cause, data.width)
    yield heals(f"With other batches in place of {which}", data.skipped)
    if data.kept is not None:
        yield breaks(f"With all batches but {which} replaced", data.kept, "still breaks")


def of_records(found: SetTests) -> Iterator[Claim]:
    """State what becomes of the training with and without the culprit records."""
    one = found.count == 1
    yield heals(f"With {'another record in its place' if one else 'other records in their place'}", found.replaced)
    if found.elsewhere is not None:
        yield _elsewhere(found.elsewhere, "it breaks" if one else "they break")
    if found.placebo is not None:
        yield breaks(f"With {found.placebo.trial.name}", found.placebo, "still breaks")
    if found.suffice is not None and found.suffice < found.count:
        enough = next(tried.seen for tried in found.subsets if tried.size == found.suffice)
        what = "1 of them is" if found.suffice == 1 else f"{found.suffice} of them are"
        yield Claim(f"{what} enough ({counted(enough, enough.breaks)})", enough, enough.breaks)


def _elsewhere(seen: Seen, they_break: str) -> Claim:
    what = "those as well" if seen.breaks else "none of those"
    return Claim(f"Placed in other batches, {they_break} {what} ({counted(seen, seen.breaks)})", seen, seen.breaks)


def of_stream(data: DataFinding) -> Iterator[Claim]:
    """State that the break needs the data from some iteration on."""
    first = data.far if data.far is not None and not data.near.all_heal else data.near
    yield heals(f"With {first.trial.name}", first)
    if data.moved is not None:
        yield breaks(f"With {data.moved.trial.name}", data.moved, "breaks there")
    narrow = [seen for seen in data.searched if seen.trial.kind == "record" and seen.breaks > seen.heals]
    if narrow:
        widest = max(narrow, key=batches_replaced)
        yield breaks(f"With only {widest.trial.name}", widest, "breaks")


def of_factor(found: Screened) -> Iterator[Claim]:
    """State what a setting does."""
    yield heals(f"With {_with_article(found.seen.trial.name)}", found.seen)
    if found.placebo is not None:
        yield breaks("Unchanged from the same start", found.placebo)


def of_other_data(data: DataFinding) -> Iterator[Claim]:
    """State that other data break as well, or that they do not."""
    for seen in (data.near, data.far):
        if seen is not None and seen.all_heal:
            said = f"With {seen.trial.name}, training continues as well ({counted(seen, seen.heals)})"
            yield Claim(said, seen, seen.breaks)
        elif seen is not None and seen.breaks:
            again = "breaks as well" if seen.breaks > seen.heals else "breaks as well at times"
            yield breaks(f"With {seen.trial.name}", seen, again)


def of_unfinished(data: DataFinding | None, partly: Sequence[Seen]) -> Iterator[Claim]:
    """State what trials of unfinished stages showed: how few other data heal, and with which it still breaks."""
    of_data = [seen for seen in partly if seen.trial.kind in ("data-shift", "record")] if data is None else []
    healing = [seen for seen in of_data if seen.all_heal]
    if healing:
        yield heals(f"With {healing[-1].trial.name}", healing[-1])
    breaking = [seen for seen in of_data if seen.all_break]
    if breaking:
        yield breaks(f"With {breaking[-1].trial.name}", breaking[-1], "still breaks")
    for seen in partly:
        if seen.trial.kind not in ("data-shift", "record", "placebo", "effect") and seen.all_heal:
            yield heals(f"With {_with_article(seen.trial.name)}", seen)


def of_start(found: StartFinding) -> Iterator[Claim]:
    """State what other start weights do."""
    if found.balance_heals and found.balanced is not None and found.unchanged is not None:
        yield heals(f"With {found.balanced.trial.name}", found.balanced)
        yield breaks("Unchanged from the same start", found.unchanged)
        return
    for layer, seen in zip(found.layers, found.repeated, strict=True):
        yield heals(f"With {layer} redrawn at the start", seen)
    if found.history is not None and found.history.all_heal:
        yield heals(f"With {found.history.trial.name}", found.history)


def of_layer_rates(found: LayerRates) -> Iterator[Claim]:
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
            margin = margins.get("learning_rate", Margin()).confirmed
            return f"a learning rate above {factor.tried if margin is None else margin:.3g}"
        case "lr-schedule":
            raised = f"that the schedule raised the learning rate from {factor.tried:.3g} to {factor.value:.3g}"
            at = "" if factor.since is None else f" by iteration {factor.since:,}"
            return f"{raised}{at} (held as before, training continues in {counted(found.seen, found.seen.heals)})"
        case "gradient-clipping":
            margin = margins.get("clip_gradients", Margin()).confirmed
            return f"no gradient clipping at {factor.tried if margin is None else margin:.3g} or less"
        case "momentum":
            margin = margins.get("momentum", Margin()).confirmed
            return f"a momentum above {factor.tried if margin is None else margin:.4g}"
        case _:
            return f"a weight decay {'above' if factor.value > factor.tried else 'below'} {factor.tried:g}"


def _with_article(name: str) -> str:
    return f"the {name}" if name.startswith(("rate", "gradient")) else name


def records_named(records: Sequence[CulpritRecord]) -> str:
    """Name culprit records, by their keys where these are known: "the record cat_7.jpg in the batch of 841"."""
    batches = list(dict.fromkeys(record.iteration for record in records))
    where = f"in the batch{'es' if len(batches) > 1 else ''} of {listed([f'{t:,}' for t in batches])}"
    keys = [record.key for record in records if record.key]
    at = ""
    if len(keys) < len(records):
        keys, at = [str(record.index) for record in records], f"at position{'s' if len(records) > 1 else ''} "
    if len(records) == 1:
        return f"The record {at}{keys[0]} {where}"
    some = listed(keys) if len(keys) <= _NAMED else f"{', '.join(keys[: _NAMED - 1])}, … {keys[-1]}"
    return f"The {len(records)} records {at}{some} {where}"


def with_keys(verdict: Verdict, records: tuple[CulpritRecord, ...]) -> Verdict:
    """Return a verdict with `records`, whose keys are known, as its culprit records, in its sentence as well."""
    if not records:
        return verdict
    rest = verdict.sentence.removeprefix(records_named(verdict.records))
    return msgspec.structs.replace(verdict, records=records, sentence=f"{records_named(records)}{rest}")


def cause(kind: Kind, iteration: int, case: Case, found: Screening) -> str:
    """Name the cause, which acts from `iteration` on, in one clause, without the evidence."""
    layers = found.responsible_layers(kind)
    names = listed(layers)
    match kind:
        case "record":
            records = found.responsible_records(kind)
            return f"{records_named(records) if records else _batches_named(found.data)} broke it"
        case "data-shift":
            return f"The data from iteration {iteration:,} on broke it"
        case "lr-schedule":
            screened = found.factor(kind)
            assert screened is not None
            factor = screened.factor
            by = "" if factor.since is None else f" by iteration {factor.since:,}"
            raised = f"from {factor.tried:.3g} to {factor.value:.3g}{by}"
            return f"The learning rate broke it, which the schedule raised {raised}"
        case "learning-rate":
            return _rate(case, found)
        case "layer-lr":
            return f"The learning rate of layer {names} broke it"
        case "momentum":
            effective = case.rate_at(case.at) / (1 - case.momentum)
            return f"The momentum of {case.momentum:g} broke it (effective rate {effective:.3g})"
        case "weight-decay":
            return f"The weight decay of {case.solver.weight_decay:g} broke it"
        case "start-weights":
            return (
                f"The weights of {names} with which training began broke it{_sizes(found.start)}"
                if layers
                else "The history with which training was resumed broke it"
            )
        case _:
            return "The cause is not decided"


def _rate(case: Case, found: Screening) -> str:
    """Name the learning rate as the cause, as surely as other data have shown it."""
    screened = found.factor("learning-rate")
    since = None if screened is None else screened.factor.since
    rate = f"{case.rate_at(case.at):.3g}"
    if since is not None:
        raised = f"raised from {case.rate_before:.3g} when training was resumed at iteration {since:,}"
        return f"The learning rate of {rate}, {raised}, is too high for this training{_with_data(found.data)}"
    tried = [] if found.data is None else [seen for seen in (found.data.near, found.data.far) if seen is not None]
    if tried and not any(seen.breaks for seen in tried):
        nothing = "Nothing was found that deviates from its past, and a lower learning rate heals"
        return f"{nothing}: that of {rate} may be too high for this training, which no other data show"
    return f"The learning rate of {rate} is too high for this training{_with_data(found.data)}"


def _with_data(data: DataFinding | None) -> str:
    near = None if data is None else data.near
    return ", whatever data it reads" if near is not None and near.breaks > near.heals else ""


def _sizes(start: StartFinding | None) -> str:
    """Say which weights were unusually large or small."""
    return "" if start is None or not start.sizes else f" ({sizes_named(start.sizes)})"


def sizes_named(sizes: Mapping[str, float]) -> str:
    """Name layers whose weights were unusually large or small, and by which factor."""
    named = ", ".join(f"{layer} × {ratio:.2g}" for layer, ratio in sizes.items())
    return f"sizes beside those of other layers, as fillers draw them: {named}"


def _batches_named(data: DataFinding | None) -> str:
    if data is None or data.cause is None or data.width is None:
        return "The batch"
    return batches_named(data.cause, data.width).capitalize()


def listed(names: Sequence[str]) -> str:
    """Join names: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def paragraph(sentence: str, evidence: Sequence[Claim], requires: Sequence[str]) -> str:
    """Join the cause, its evidence and its conditions."""
    parts = [f"{sentence}."]
    if evidence:
        parts.append(f"{joined(evidence)}.")
    if requires:
        parts.append(f"This requires {listed(requires)}.")
    return " ".join(parts)


def joined(claims: Sequence[Claim], lower_first: bool = False) -> str:
    """Join claims to one sentence."""
    sentences = [claim.sentence[0].lower() + claim.sentence[1:] for claim in claims]
    return "; ".join(sentences if lower_first else [claims[0].sentence, *sentences[1:]])
