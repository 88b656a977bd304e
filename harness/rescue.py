"""Get a broken training to its end: find the smallest change that gets past the break, and continue with it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

if __name__ == "__main__":  # start as `caffe-harness rescue` does
    if not __package__:  # run as a file: put the repository, not harness/, on the path
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from harness.dispatch import start

    sys.exit(start("rescue", sys.argv[1:]))

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.budget import parse_budget
from harness.caffe_files.file_kind import run_given
from harness.cluster.place import add_place
from harness.command_parser import CommandParser, positive
from harness.dispatch import returns_code
from harness.invocation import command_line, program
from harness.rescuing.command import rescue_on_screen
from harness.rescuing.request import RescueRequest
from harness.schemas.rescue import CandidateKind

_KINDS: tuple[str, ...] = get_args(CandidateKind)
_EXAMPLES = """
Why the run broke is found out first, as by explain. Changes that may get it past its break are tried, those that change
the training least first: in replays, which take a moment, then in a restart, past the break, over three displays and a
test pass. The first one with which the loss is as low as while training was healthy is chosen, or else the smallest
change whose loss is within noise of the best. The training continues with it to its end. Where it breaks again, the
same is done again.

Everything is in RUN-rescue/, beside RUN: restarts, a journal, and rescue.json. RUN itself is not changed. After an
interruption, the same command goes on where it was.

Examples:
  {command} runs/quick
  {command} runs/quick --until 130000 --forbid rate
  {command} runs/quick --candidate 'slower: --set base_lr=0.0005 --history rescale'

Exit codes: 0 training reached its end, or never broke, 1 the result could not be written, 2 bad input (nothing was
trained), 3 nothing helped, or --tries were used up, 4 the worker, which runs Caffe, died, 130 interrupted (what was
finished is kept).
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    command = command_line("rescue")
    parser = CommandParser(
        prog=program("rescue"),
        description=f"{__doc__}\n{_EXAMPLES.format(command=command)}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the directory of a run that broke; it is not modified")
    parser.add_argument("--until", type=positive, metavar="N", help="train to iteration N (default: max_iter)")
    parser.add_argument(
        "--tries", type=positive, default=5, metavar="N", help="choose a change N times at most (default: %(default)s)"
    )
    parser.add_argument(
        "--candidate",
        action="append",
        default=[],
        metavar="'NAME: OPTIONS'",
        help="try this change as well: options of restart, as in 'slower: --set base_lr=0.001 --history rescale'; may "
        "be given several times",
    )
    parser.add_argument(
        "--forbid",
        action="append",
        default=[],
        choices=_KINDS,
        metavar="KIND",
        help=f"leave out candidates of a kind ({', '.join(_KINDS)}); may be given several times",
    )
    parser.add_argument(
        "--budget",
        metavar="LIMIT",
        help="of finding out why a run broke, each time: a time (90s, 10m, 2h) or a number of iterations (2000)",
    )
    add_place(parser, "replays and restarts")
    parser.add_argument("--json", action="store_true", help="print rescue.json instead of text")
    return parser


@returns_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run with `arguments` (default: the command line's), and return the exit code."""
    args = parser().parse_args(arguments)
    request = RescueRequest(
        until=args.until,
        tries=args.tries,
        given=tuple(args.candidate),
        forbidden=tuple(args.forbid),
        budget=parse_budget(args.budget),
        workers=args.workers,
        dask=args.dask,
    )
    return rescue_on_screen(run_given(args.run), request, as_json=args.json)
