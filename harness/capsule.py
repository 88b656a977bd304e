"""Pack the failure of a run into one file that reproduces it elsewhere, and look into such files."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

if __name__ == "__main__":  # start as `caffe-harness capsule` does
    if not __package__:  # run as a file: put the repository, not harness/, on the path
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from harness.dispatch import start

    sys.exit(start("capsule", sys.argv[1:]))

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.capsule_commands import open as open_
from harness.capsule_commands import pack, run, show, shrink
from harness.command_parser import CommandParser
from harness.dispatch import returns_code
from harness.invocation import command_line, program

_EXAMPLES = """
A capsule holds the solver and the net, weights, momentum and random state before the failure, the records that are read
until the failure is complete, and what was recorded of these iterations. Capsules from strangers are checked before
anything is unpacked, and Python layers do not run without --trust.

Examples:
  {command} pack runs/collapse --out collapse.capsule
  {command} show collapse.capsule
  {command} run collapse.capsule
  {command} open collapse.capsule --out runs/collapse

`{command} ACTION --help` describes the options of an action.

Exit codes: 0 done, 1 the result could not be written, 2 bad input, a damaged capsule included (nothing was written),
3 what was run did not break in the same way, 4 the worker, which runs Caffe, died, 130 interrupted.
"""
_ACTIONS = (
    pack,
    show,
    run,
    open_,
    shrink,
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    command = command_line("capsule")
    parser = CommandParser(
        prog=program("capsule"),
        description=f"{__doc__}\n{_EXAMPLES.format(command=command)}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    for action in _ACTIONS:
        action.add_parser(actions)
    return parser


@returns_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run with `arguments` (default: the command line's), and return the exit code."""
    args = parser().parse_args(arguments)
    with _interrupted_by_sigterm():
        code: int = args.main(args)
    return code


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Have SIGTERM (of `kill`, `timeout`, a scheduler) end the block as Ctrl-C does: what is unfinished is removed."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
