"""Options that say what a restart changes in a training: those of restart.py, of a sweep, and of a candidate."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from harness.errors import BadInput
from harness.schemas.history_modes import HISTORY_MODES

_CANDIDATE = "--candidate"
_FORM = "Write 'NAME: OPTIONS' with options of restart.py, as in 'slower: --set base_lr=0.001 --history rescale'"


@dataclass(frozen=True)
class ChangeOptions:
    """The values of the options that change a training.

    Attributes:
        fields, layer_fields: of --set and --set-layer.
        history: what becomes of the momentum, one of `HISTORY_MODES`.
        skip: iterations whose data are passed over, as "A:B".
        skip_records: the text of --skip-records.
    """

    fields: tuple[str, ...] = ()
    layer_fields: tuple[str, ...] = ()
    history: str = "keep"
    skip: str | None = None
    skip_records: str | None = None
    seed: int | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The arguments of restart.py that say the same."""
        words = [word for value in self.fields for word in ("--set", value)]
        words += [word for value in self.layer_fields for word in ("--set-layer", value)]
        words += ["--history", self.history] if self.history != "keep" else []
        words += ["--skip", self.skip] if self.skip is not None else []
        words += [f"--skip-records={self.skip_records}"] if self.skip_records is not None else []  # "-…" is a key, too
        words += ["--seed", str(self.seed)] if self.seed is not None else []
        return tuple(words)


@dataclass(frozen=True)
class NamedOptions:
    """A candidate as a user gives it: its name, its words, and what these say."""

    name: str
    words: tuple[str, ...]
    options: ChangeOptions


def add_change_options(parser: argparse._ActionsContainer) -> None:
    """Add --set, --set-layer, --history and --skip."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set a field of the solver; may be given several times",
    )
    parser.add_argument(
        "--set-layer",
        action="append",
        default=[],
        metavar="GLOB:FIELD=VALUE",
        help="set a field of all layers whose names match; may be given several times",
    )
    parser.add_argument(
        "--history",
        choices=HISTORY_MODES,
        default="keep",
        help="what to do with the momentum, which holds learning rate × gradient; rescale multiplies it by "
        "new rate / old rate (default: %(default)s)",
    )
    parser.add_argument(
        "--skip",
        metavar="A:B",
        help="skip the training data of iterations A … B-1, once: their records return in the next epoch, at the "
        "iteration that is shown at the start (--skip-records leaves records out for good)",
    )


def read_options(words: Sequence[str]) -> ChangeOptions:
    """Read the options of a restart, written out in full.

    Raises:
        BadInput: one of them changes nothing in a training, or restart.py does not take it.
    """
    parser = _Parser(prog="", add_help=False, allow_abbrev=False)
    _add_all(parser)
    return _options_of(parser.parse_args(words))


def find_options(command: Sequence[str]) -> ChangeOptions:
    """Return the options that changed something among the arguments `command` of a restart that was made."""
    parser = _Parser(prog="", add_help=False)
    _add_all(parser)
    return _options_of(parser.parse_known_args(command)[0])


def read_candidate(text: str) -> NamedOptions:
    """Read a candidate, `NAME: OPTIONS`.

    Raises:
        BadInput: it has another form, or an option that changes nothing in a training.
    """
    name, colon, rest = text.partition(":")
    if not colon or not name.strip() or not rest.strip():
        raise BadInput("not a candidate", field=_CANDIDATE, value=text, remedy=_FORM)
    try:
        options = read_options(shlex.split(rest))
        if options.skip_records is not None:
            options = replace(options, skip_records=from_here(options.skip_records))
        return NamedOptions(name.strip(), options.words, options)
    except (ValueError, BadInput) as error:
        problem = (error.problem if isinstance(error, BadInput) else str(error)).rstrip(".")
        raise BadInput(f"not options of a restart ({problem})", field=_CANDIDATE, value=text, remedy=_FORM) from None


def from_here(keys: str) -> str:
    """Make the path of a file of keys (`@FILE`) absolute: restarts run in the directory of their parent."""
    return f"@{Path(keys[1:]).absolute()}" if keys.startswith("@") else keys


class _Parser(argparse.ArgumentParser):
    """Raises BadInput where a parser of a command would end the process."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(message, remedy="Give options of restart.py that change something")


def _add_all(parser: argparse.ArgumentParser) -> None:
    """Add the options of `add_change_options`, and those that each command that trains has as well."""
    add_change_options(parser)
    parser.add_argument("--skip-records")
    parser.add_argument("--seed", type=int)


def _options_of(args: argparse.Namespace) -> ChangeOptions:
    return ChangeOptions(tuple(args.set), tuple(args.set_layer), args.history, args.skip, args.skip_records, args.seed)
