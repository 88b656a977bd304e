"""Say in words what broke a training, and what the break needs besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.stages.data import DataFinding, batches_named
from harness.diagnosis.cause.stages.factors import Screened
from harness.diagnosis.cause.stages.start_weights import StartFinding
from harness.diagnosis.cause.verdict.deciding import Screening
from harness.diagnosis.cause.verdict.trial_claims import Claim, counted
from harness.schemas.explanation import CulpritRecord, Kind, Margin, Verdict

_NAMED = 4  # records whose keys a sentence has


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
