"""The chain from a cause to the damage, as an unchanged replay showed it, and what withheld updates say about it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from harness.caffe_files.net_roles import net_roles
from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.trials import Seen
from harness.schemas.arm import ArmResult
from harness.schemas.explanation import ChainLink, CulpritRecord
from harness.schemas.layout import Head

_BEYOND = 2.0  # times the largest magnitude of before: out of range
_DEAD = 0.99  # share of zeros of a ReLU that hardly gives anything any more
_ALIVE = 0.98  # likewise before, at most
_AT_CHANCE = 0.1  # relative distance of a loss from chance level
_LEARNED = 0.8  # of chance level: a head below it has learned something
_LAST = 4  # iterations at the end of a replay
_NAMED = 3  # names in a sentence


def observed(case: Case, cause: int, control: Seen) -> tuple[ChainLink | None, ...]:
    """State which blob left its range first, which units died, and how it ended; None for what was not seen.

    Args:
        control: an unchanged replay from before iteration `cause` on, with a look at all blobs.
    """
    result = control.results[0]
    before = cause - result.arm.start
    if not 0 <= before < len(result.loss):
        return (None, None, None)
    seen_before = (_out_of_range(case, result, before), _dead(result, before)) if before else ("", "")
    sentences = *seen_before, _end(case, result, before)
    return tuple(ChainLink(sentence, (control.trial.name,)) if sentence else None for sentence in sentences)


def of_records(records: Sequence[CulpritRecord]) -> ChainLink | None:
    """State what culprit records do, each alone in an ordinary batch; None of those that do damage together only."""
    alone = [record for record in records if record.relief is None]
    if not alone:
        return None
    one = len(alone) == 1
    which = "the culprit record alone" if one else f"each of {len(alone)} culprit records alone"
    norm = _in_words("the gradient's norm is", [one.gradient_l2 for one in alone], alone[0].usual_gradient_l2)
    loss = _in_words("the loss after the update rises by", [one.effect for one in alone], alone[0].usual_effect)
    sentence = f"In an ordinary batch with {which}, {norm}, and {loss}"
    return ChainLink(sentence, tuple(f"records of {t:,}, each among ordinary ones" for t in _iterations(alone)))


def _iterations(records: Sequence[CulpritRecord]) -> list[int]:
    return list(dict.fromkeys(record.iteration for record in records))


def _in_words(what: str, values: Sequence[float | None], usual: float | None) -> str:
    """Say in which range numbers are, how many of them are not finite, and what is usual."""
    known = sorted(value for value in values if value is not None and math.isfinite(value))
    lost = len(values) - len(known)
    if not known:
        return f"{what.rsplit(' ', 1)[0].removesuffix(' rises')} is not finite"
    least, most = f"{known[0]:.3g}", f"{known[-1]:.3g}"
    some = f"; not finite for {lost} of them" if lost else ""
    ordinary = "" if usual is None else f" ({usual:.2g} with an ordinary record{some})"
    return f"{what} {least if least == most else f'{least} to {most}'}{ordinary}"


def of_updates(
    cause: int, layers: Sequence[str], moves: Mapping[str, float], usual: Mapping[str, float], control: Seen
) -> ChainLink | None:
    """State how much an update changes `layers`, the most of all first; None if that is not known of any."""
    layers = [layer for layer in layers if not math.isnan(moves[layer])]
    if not layers:
        return None
    parts = []
    for layer in layers[:_NAMED]:
        part = (
            f"{layer} by {moves[layer]:.2g} of its weights' norm" if math.isfinite(moves[layer]) else f"{layer} by NaN"
        )
        if math.isfinite(moves[layer]) and usual.get(layer):
            part += f" ({moves[layer] / usual[layer]:.3g} times as much as usual)"
        parts.append(part)
    more = f", and {len(layers) - _NAMED} more" if len(layers) > _NAMED else ""
    return ChainLink(f"The update of iteration {cause:,} changes {', '.join(parts)}{more}", (control.trial.name,))


def of_withheld(cause: int, none: Seen, only: Sequence[Seen], without: Seen | None) -> Iterator[ChainLink]:
    """State what becomes of the training without updates, with those of some layers only, and with all others."""
    yield ChainLink(
        f"Without any update from iteration {cause:,} on, training keeps its level ({_of(none.heals, none)})",
        (none.trial.name,),
    )
    breaking = [seen for seen in only if seen.all_break]
    for seen in breaking[:_NAMED]:
        yield ChainLink(f"With {seen.trial.name}, it breaks ({_of(seen.breaks, seen)})", (seen.trial.name,))
    if without is not None and without.all_heal:
        yield ChainLink(
            f"With the {without.trial.name}, it continues ({_of(without.heals, without)})", (without.trial.name,)
        )
    elif without is not None and without.all_break:
        what = f"With the {without.trial.name}, it breaks as well ({_of(without.breaks, without)})"
        yield ChainLink(f"{what}: other layers do damage too", (without.trial.name,))


def _of(number: int, seen: Seen) -> str:
    total = len(seen.judgements)
    return f"{number} of {total} {'replay' if total == 1 else 'replays'}"


def _out_of_range(case: Case, result: ArmResult, before: int) -> str:
    """Say which blob is the first one far beyond its values of before."""
    others = {*net_roles(case.net).labels, *(head.name for head in case.heads)}
    blobs = {name: peaks for name, peaks in result.blob_peak.items() if name not in others}
    usual = {name: max(peaks[:before]) for name, peaks in blobs.items()}
    for row in range(before, len(result.loss)):
        for name, peaks in blobs.items():
            if not math.isfinite(peaks[row]):
                return f"In iteration {result.arm.start + row:,}, {name} is the first blob that is not finite"
            if usual[name] > 0 and peaks[row] > _BEYOND * usual[name]:
                return (
                    f"In iteration {result.arm.start + row:,}, {name} is the first blob out of range: its values reach "
                    f"{peaks[row]:.3g}, and {usual[name]:.3g} at most in the {before} iterations before the cause"
                )
    return ""


def _dead(result: ArmResult, before: int) -> str:
    """Say which ReLUs come to give hardly anything but zeros."""
    dead: dict[str, int] = {}
    for name, shares in result.zero_fraction.items():
        if max(shares[:before]) <= _ALIVE and min(shares[-_LAST:]) >= _DEAD:
            dead[name] = next(row for row in range(before, len(shares)) if min(shares[row:]) >= _DEAD)
    if not dead:
        return ""
    names = sorted(dead, key=lambda name: dead[name])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    first = result.arm.start + min(dead.values())
    which = f"{', '.join(names[:_NAMED])}{more} {'comes' if len(names) == 1 else 'come'}"
    return f"From iteration {first:,} on, units die: {which} to give 99 % zeros or more"


def _end(case: Case, result: ArmResult, before: int) -> str:
    """Say how the replay ends: not finite, with heads at chance level, or at which loss."""
    if result.ended == "not finite":
        return result.why.rstrip(".")
    until = f"At iteration {result.arm.start + len(result.loss) - 1:,}"
    heads = [words for head in case.heads if (words := _near_chance(head, result.outputs.get(head.name, ()), before))]
    if heads:
        return f"{until}, {'the head is' if len(heads) == 1 else 'heads are'} near chance level: {', '.join(heads)}"
    loss, level = float(np.median(result.loss[-_LAST:])), case.levels.chance
    chance = "" if level is None else f"; chance level is {level:.3g}"
    return f"{until}, the loss is {loss:.3g}, and {case.levels.healthy:.3g} before the break{chance}"


def _near_chance(head: Head, losses: Sequence[float], before: int) -> str:
    """Say how near a head is to chance level at the end, if it was not at first."""
    if head.classes is None or len(losses) < before + _LAST:
        return ""
    chance, now = math.log(head.classes), float(np.median(losses[-_LAST:]))
    if abs(now - chance) > _AT_CHANCE * chance or (before and float(np.median(losses[:before])) > _LEARNED * chance):
        return ""
    return f"{head.name} {now:.3g} (ln {head.classes} = {chance:.3g})"
