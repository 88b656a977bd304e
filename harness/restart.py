"""Continue a run from its last good snapshot, exactly, with other hyperparameters."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # start as `caffe-harness restart` does
    if not __package__:  # run as a file: put the repository, not harness/, on the path
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from harness.dispatch import start

    sys.exit(start("restart", sys.argv[1:]))

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.change_options import add_change_options
from harness.command_parser import CommandParser
from harness.dispatch import returns_code
from harness.invocation import command_line, program
from harness.supervisor.spawn import WaitingWorker
from harness.training_options import EXIT_CODES, add_options

if TYPE_CHECKING:
    from harness.supervisor.plan import Plan

_EXAMPLES = """
Examples:
  {command} runs/quick --set base_lr=0.0005 --set clip_gradients=10
  {command} runs/quick --from 118000 --set-layer 'loss*/classifier:lr_mult=1'
  {command} runs/quick --skip 119010:119030
  {command} runs/quick --skip-records 00007315_cat7315.jpg,00007402_dog7402.jpg
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    command = command_line("restart")
    parser = CommandParser(
        prog=program("restart"),
        description=f"{__doc__}\n{_EXAMPLES.format(command=command)}{EXIT_CODES}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    what = parser.add_argument_group("what to restart, and what to change")
    what.add_argument("run", type=Path, metavar="RUN", help="the run directory to continue; it is not modified")
    what.add_argument(
        "--from",
        dest="start",
        default="last-good",
        metavar="WHEN",
        help="last-good, or an iteration: of a snapshot, in a window with history, or 0 (default: %(default)s)",
    )
    add_change_options(what)
    add_options(parser, "RUN-CHANGE beside RUN, as in runs/quick-clip_gradients=10")
    return parser


@returns_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run with `arguments` (default: the command line's), and return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    args = parser().parse_args(given)
    with WaitingWorker() as worker:
        from harness.training_command import train  # with most of the harness, while the worker imports Caffe

        return train(partial(_plan, args, given), args, worker)


def _plan(
    args: argparse.Namespace,
    given: Sequence[str],
    progress: Callable[[int, int], None],
    say: Callable[[str], None],
) -> Plan:
    from harness.caffe_files.file_kind import run_given
    from harness.diagnosis.live.limits import read_limits
    from harness.supervisor.excluded_records import given_keys
    from harness.supervisor.restart_plan import Restart, plan_restart
    from harness.training_command import options_of

    run = run_given(args.run).resolve()
    wanted = Restart(run, args.start, tuple(args.set), tuple(args.set_layer), args.history, args.skip)
    told = replace(options_of(args, ("restart.py", *given)), skip_records=given_keys(args.skip_records))
    return plan_restart(wanted, told, read_limits(args.rules), progress, say)
