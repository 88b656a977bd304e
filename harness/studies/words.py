"""Words: the options of restart.py that say what a leg changes."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.change_options import ChangeOptions, read_candidate, read_options
from harness.diagnosis.live.limits import Limits
from harness.errors import BadInput
from harness.schemas.leg import Leg
from harness.supervisor.excluded_records import given_keys
from harness.supervisor.options import Options
from harness.supervisor.plan import Plan
from harness.supervisor.restart_plan import Restart, changes_of, plan_restart
from harness.supervisor.run_names import changes_name

Words = tuple[str, ...]
_UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Named:
    """Words, and a name for the run directory that they make."""

    name: str
    words: Words


def check(leg: Leg, limits: Limits) -> Plan:
    """Check a leg as restart.py does before it trains. Returns its plan.

    The process then works in the directory from which the parent's own relative paths count.

    Raises:
        BadInput, RecordingError: something cannot be used.
    """
    changes = read_options(leg.words)
    left_out = given_keys(changes.skip_records)
    options = Options(out=Path(leg.directory), until=leg.until, seed=changes.seed, skip_records=left_out)
    return plan_restart(_restart(changes, Path(leg.parent), leg.start), options, limits)


def name_of(words: Words) -> str:
    """Name words after their changes.

    Raises:
        BadInput: restart.py takes no such words.
    """
    changes = read_options(words)
    left_out = given_keys(changes.skip_records)
    return changes_name(changes_of(_restart(changes, Path(), 0), left_out, changes.seed)) or _UNCHANGED


def candidate(text: str) -> Named:
    """Read a candidate, `NAME: OPTIONS`; its name becomes that of a directory.

    Raises:
        BadInput: it is none.
    """
    given = read_candidate(text)
    name = changes_name(given.name.split())
    if not name:
        remedy = "Give a name with letters or digits before the colon"
        raise BadInput("its name cannot name a directory", field="--candidate", value=text, remedy=remedy)
    return Named(name, given.words)


def alternatives(text: str) -> list[str]:
    """Split `A,B` at its commas, except in brackets and quotes; there may be nothing between two of them."""
    parts, closing = [""], ""
    for character in text:
        if character == "," and not closing:
            parts.append("")
            continue
        if closing:
            closing = "" if character == closing else closing
        else:
            closing = {"[": "]", '"': '"', "'": "'"}.get(character, "")
        parts[-1] += character
    return parts


def assignments(option: str, text: str) -> list[Words]:
    """Return the words that `FIELD=A,B` stands for as the value of an option."""
    field, equals, values = text.partition("=")
    if not equals:
        return [(option, text)]
    return [(option, f"{field}={value.strip()}") for value in alternatives(values)]


def grid(choices: Sequence[Sequence[Words]]) -> list[Words]:
    """Combine each alternative of a choice with each of all others."""
    return [sum(combination, ()) for combination in itertools.product(*choices)]


def in_turn(choices: Sequence[Sequence[Words]]) -> list[Words]:
    """Combine the first alternatives of all choices, then the second ones; a single one belongs to all.

    Raises:
        BadInput: their numbers differ.
    """
    most = max((len(choice) for choice in choices), default=0)
    for choice in choices:
        if len(choice) not in (1, most):
            raise BadInput(
                f"has {len(choice)} values, and another option has {most}",
                field=choice[0][0],
                value=choice[0][1],
                remedy="Give each the same number of values, or one, or leave --list out: all are combined then",
            )
    return [sum((choice[number % len(choice)] for choice in choices), ()) for number in range(most)]


def named(all_words: Sequence[Words], candidates: Sequence[Named]) -> list[Named]:
    """Name all words, each of them once and with a name of its own."""
    found: dict[str, Named] = {}
    known = {each.words for each in candidates}
    others = [Named(name_of(words), words) for words in dict.fromkeys(all_words) if words not in known]
    for each in (*others, *candidates):
        name = numbered_name(each.name, found)
        found[name] = Named(name, each.words)
    return list(found.values())


def numbered_name(name: str, taken: Collection[str]) -> str:
    """Return `name`, or `name-2` and so on, whichever is not taken."""
    names = itertools.chain((name,), (f"{name}-{number}" for number in itertools.count(2)))
    return next(each for each in names if each not in taken)


def _restart(changes: ChangeOptions, run: Path, start: int) -> Restart:
    return Restart(run, str(start), changes.fields, changes.layer_fields, changes.history, changes.skip)
