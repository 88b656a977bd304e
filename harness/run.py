"""Step a Caffe solver and record what every layer does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # start as `caffe-harness run` does
    if not __package__:  # run as a file: put the repository, not harness/, on the path
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from harness.dispatch import start

    sys.exit(start("run", sys.argv[1:]))

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.command_parser import CommandParser
from harness.dispatch import returns_code
from harness.errors import BadInput
from harness.invocation import command_line, program
from harness.supervisor.spawn import WaitingWorker
from harness.training_options import EXIT_CODES, add_options

if TYPE_CHECKING:
    from harness.supervisor.plan import Plan

_EXAMPLES = """
Examples:
  {command} --solver quick_solver.prototxt --watch 118900:119100
  {command} --solver quick_solver.prototxt --weights bvlc_googlenet.caffemodel --until 5000
  {command} --solver quick_solver.prototxt --resume quick_iter_80000.solverstate
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    command = command_line("run")
    parser = CommandParser(
        prog=program("run"),
        description=f"{__doc__}\n{_EXAMPLES.format(command=command)}{EXIT_CODES}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    what = parser.add_argument_group("what to run")
    what.add_argument("--solver", type=Path, required=True, metavar="FILE", help="solver prototxt, as for caffe train")
    what.add_argument(
        "--level",
        type=int,
        default=0,
        metavar="N",
        help="level of the train net, in place of the solver's train_state.level, as for caffe train "
        "(default: %(default)s)",
    )
    what.add_argument(
        "--stage",
        default="",
        metavar="LIST",
        help="stages of the train net, besides those of the solver, as for caffe train",
    )
    start = what.add_mutually_exclusive_group()
    start.add_argument("--weights", metavar="FILE", help="fine-tune from this caffemodel, by layer name")
    start.add_argument(
        "--resume",
        "--snapshot",
        type=Path,
        metavar="FILE",
        help="continue from this solverstate, exactly (see --data); --snapshot as for caffe train",
    )
    what.add_argument(
        "--native-start",
        type=int,
        metavar="N",
        help="of a snapshot of caffe train: the iteration at which caffe train was last resumed (--snapshot), where "
        "data and random numbers began anew (default: as a log of it says, else 0)",
    )
    add_options(parser, "runs/SOLVER-DATE-TIME")
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
    from harness.caffe_files.file_kind import check_solver, check_state, check_weights
    from harness.supervisor.excluded_records import given_keys
    from harness.supervisor.plan import make_plan
    from harness.supervisor.resume import from_solverstate, from_weights
    from harness.supervisor.training_spec import read_training_spec
    from harness.training_command import options_of

    options = options_of(args, ("run.py", *given))
    check_solver(args.solver)
    spec = read_training_spec(args.solver, args.level, args.stage)
    told = replace(options, skip_records=given_keys(args.skip_records))
    if args.native_start is not None and (args.resume is None or not options.exact):
        remedy = "Leave it out"
        raise BadInput(
            "is for --resume with --data exact", field="--native-start", value=args.native_start, remedy=remedy
        )
    if args.resume:
        check_state(args.resume)
        start = from_solverstate(args.resume, args.native_start, spec.solver.snapshot)
    else:
        for name in args.weights.split(",") if args.weights else ():
            check_weights(Path(name.strip()))
        start = from_weights(args.weights, spec.solver)
    return make_plan(spec, start, told, progress=progress)
