"""Words: the options of restart.py that say what a leg changes."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from harness.caffe_files.solverstate import HISTORY_MODES
from harness.command_parser import CommandParser
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


@dataclass(frozen=True)
class _Parsed:
    """What words say, as restart.py reads them."""

    fields: tuple[str, ...]
    layer_fields: tuple[str, ...]
    history: str
    skip: str | None
    records: tuple[str, ...]
    seed: int | None

    def restart(self, run: Path, start: int) -> Restart:
        return Restart(run, str(start), self.fields, self.layer_fields, self.history, self.skip)


def check(leg: Leg, limits: Limits) -> Plan:
    """Check a leg as restart.py does before it trains. Returns its plan.

    The process then works in the directory from which the parent's own relative paths count.

    Raises:
        BadInput, RecordingError: something cannot be used.
    """
    parsed = _parse(leg.words)
    options = Options(out=Path(leg.directory), until=leg.until, seed=parsed.seed, skip_records=parsed.records)
    return plan_restart(parsed.restart(Path(leg.parent), leg.start), options, limits)


def name_of(words: Words) -> str:
    """Name words after their changes.

    Raises:
        BadInput: restart.py takes no such words.
    """
    parsed = _parse(words)
    return changes_name(changes_of(parsed.restart(Path(), 0), parsed.records, parsed.seed)) or _UNCHANGED


def candidate(text: str) -> Named:
    """Read `NAME: WORDS`.

    Raises:
        BadInput: it is none.
    """
    name, colon, rest = text.partition(":")
    remedy = "Write 'NAME: --set FIELD=VALUE', with any options of restart.py that change something"
    try:
        words = tuple(shlex.split(rest))
        known = changes_name(name.split())
        if colon and known and words:
            _parse(words)
            return Named(known, words)
    except (ValueError, BadInput) as error:
        raise BadInput(str(error).removesuffix("."), field="--candidate", value=text, remedy=remedy) from None
    raise BadInput("not a candidate", field="--candidate", value=text, remedy=remedy)


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


def _parse(words: Words) -> _Parsed:
    parser = _WordParser(prog="", add_help=False, allow_abbrev=False)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--set-layer", action="append", default=[])
    parser.add_argument("--history", choices=HISTORY_MODES, default="keep")
    parser.add_argument("--skip")
    parser.add_argument("--skip-records")
    parser.add_argument("--seed", type=int)
    args = parser.parse_args(words)
    records = given_keys(args.skip_records)
    return _Parsed(tuple(args.set), tuple(args.set_layer), args.history, args.skip, records, args.seed)


class _WordParser(CommandParser):
    """Raises BadInput where a parser of a command would end the process."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(message, remedy="Give options of restart.py that change something")
