"""Claims: what trials showed, in words, each with its counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.diagnosis.cause.records.culprit_sets import SetTests
from harness.diagnosis.cause.stages.controls import Controls
from harness.diagnosis.cause.stages.data import DataFinding, batches_named, batches_replaced
from harness.diagnosis.cause.stages.factors import Screened
from harness.diagnosis.cause.stages.layer_lr import LayerRates
from harness.diagnosis.cause.stages.start_weights import StartFinding
from harness.diagnosis.cause.trials import Seen
from harness.schemas.explanation import ChainLink


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


def _with_article(name: str) -> str:
    return f"the {name}" if name.startswith(("rate", "gradient")) else name
