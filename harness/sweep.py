"""Restart a run several times with other settings, and compare what becomes of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

if __name__ == "__main__":  # start as `caffe-harness sweep` does
    if not __package__:  # run as a file: put the repository, not harness/, on the path
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from harness.dispatch import start

    sys.exit(start("sweep", sys.argv[1:]))

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.caffe_files.file_kind import run_given
from harness.caffe_files.messages import caffe_directory
from harness.change_options import from_here
from harness.cluster.place import add_place, place
from harness.command_parser import CommandParser
from harness.dispatch import returns_code
from harness.errors import BadInput, RecordingError, RecordingFailed
from harness.exit_codes import Exit
from harness.invocation import command_line, next_command, path_argument, program
from harness.output import writing_results
from harness.recording import run_directory
from harness.recording.result_files import json_text
from harness.reports.console import results_console
from harness.reports.suggestion import Suggestion
from harness.reports.text.sweep import show_sweep
from harness.reports.view_terminal import ViewTerminal
from harness.schemas.sweep import LOSSES, Sweep
from harness.studies.comparing import in_words
from harness.studies.engine import LegEngines
from harness.studies.sweep_plan import SweepPlan, SweepRequest, planned_sweep
from harness.studies.sweeping import Sweeping
from harness.studies.words import Words, alternatives, assignments, candidate, grid, in_turn, named
from harness.supervisor.signals import Interrupts

_EXAMPLES = """
Each restart is a run directory in the study directory (RUN-sweep): it goes on exactly where the run stood, with one
combination of the values that are given. What comes of them is compared with the run itself and with each other, in a
table, in sweep.json, and in the figure losses.png. After an interruption, the same command goes on from snapshots;
another one for the same run and start adds its restarts to the study.

Examples:
  {command} runs/quick --set base_lr=0.001,0.0005 --set clip_gradients=5,10 --until 120000
  {command} runs/quick --list --set base_lr=0.001,0.0005 --set momentum=0.9,0.95
  {command} runs/quick --set-layer 'loss*/classifier:lr_mult=1,2,5' --best test:loss3/top-1
  {command} runs/quick --set base_lr=0.001 --candidate 'short: --skip 119010:119030'

A value with commas is written in brackets: --set 'stepvalue=[80000,100000],[90000]'.

Exit codes: 0 every restart is complete or diverged, 1 one could not be recorded, 2 bad input (nothing was trained,
or one was refused as it began), 3 all diverged, 4 the process of one died, 130 interrupted, or one was stopped.
"""
_COLUMNS = 120  # of results in a file or a pipe
_WORST = (Exit.RECORDING_FAILED, Exit.BAD_INPUT, Exit.WORKER_DIED, Exit.INTERRUPTED)
_UNFINISHED = (Exit.RECORDING_FAILED, Exit.WORKER_DIED, Exit.INTERRUPTED)


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    command = command_line("sweep")
    parser = CommandParser(
        prog=program("sweep"),
        description=f"{__doc__}\n{_EXAMPLES.format(command=command)}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    what = parser.add_argument_group("what to restart, and what to change")
    what.add_argument("run", type=Path, metavar="RUN", help="the run directory to restart; it is not modified")
    what.add_argument(
        "--from",
        dest="start",
        default="last-good",
        metavar="WHEN",
        help="last-good, or an iteration, as for restart.py (default: %(default)s)",
    )
    what.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=A,B",
        help="values of a field of the solver; may be given several times",
    )
    what.add_argument(
        "--set-layer",
        action="append",
        default=[],
        metavar="GLOB:FIELD=A,B",
        help="values of a field of all layers whose names match; may be given several times",
    )
    what.add_argument("--history", metavar="A,B", help="what to do with the momentum: some of keep, rescale, reset")
    what.add_argument("--skip", metavar="A:B,C:D", help="skip the training data of these iterations")
    what.add_argument("--skip-records", metavar="KEYS", help="leave these records out for good, in all restarts")
    what.add_argument("--seed", metavar="A,B", help="random seeds")
    what.add_argument(
        "--candidate",
        action="append",
        default=[],
        metavar="'NAME: --set …'",
        help="one more restart, with options of restart.py that change something; may be given several times",
    )
    how = what.add_mutually_exclusive_group()
    how.add_argument("--grid", action="store_true", help="combine each value with each of the others (the default)")
    how.add_argument("--list", action="store_true", help="combine all first values, all second ones, and so on")
    study = parser.add_argument_group("how to do it")
    study.add_argument(
        "--until", type=int, metavar="N", help="stop at iteration N (default: the end of the run, max_iter)"
    )
    study.add_argument(
        "--best",
        default="loss",
        metavar="loss|test:NAME",
        help="what the best restart is best in: its loss at the end, or an output of the first test net, which is the "
        "higher the better if it is an accuracy (default: %(default)s)",
    )
    add_place(study, "restarts")
    study.add_argument("--out", type=Path, metavar="DIR", help="study directory (default: RUN-sweep beside RUN)")
    study.add_argument("--json", action="store_true", help="print sweep.json instead of text")
    return parser


@returns_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run with `arguments` (default: the command line's), and return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    args = parser().parse_args(given)
    interrupts = Interrupts("continue")
    with closing(ViewTerminal()) as terminal, terminal.showing_errors(), ExitStack() as stack:
        with interrupts.planning():
            caffe_directory()
            request = _request(args, given)
            where = stack.enter_context(place(args.dask, args.workers, terminal.message))
            workers = where.arms.count(run_directory.read_info(request.run))
            plan = stack.enter_context(planned_sweep(request, workers, terminal))
        sweep = _carry_out(plan, lambda: where.legs(workers), terminal, interrupts)
        _draw(sweep, plan)
    code = _code(sweep, plan) if interrupts.stop is None else Exit.INTERRUPTED
    with writing_results():
        if args.json:
            print(json_text(sweep))
        else:
            console = results_console(_COLUMNS)
            criterion = in_words(sweep.criterion, plan.info, sweep.span)
            show_sweep(sweep, criterion, _suggestions(sweep, plan, code), console)
    return code


def _request(args: argparse.Namespace, given: Sequence[str]) -> SweepRequest:
    choices: list[Sequence[Words]] = [assignments("--set", text) for text in args.set]
    choices += [assignments("--set-layer", text) for text in args.set_layer]
    for option, text in (("--history", args.history), ("--skip", args.skip), ("--seed", args.seed)):
        if text is not None:
            choices.append([(option, value.strip()) for value in alternatives(text)])
    if args.skip_records is not None:
        choices.append([("--skip-records", from_here(args.skip_records))])
    candidates = [candidate(text) for text in args.candidate]
    combinations = (in_turn if args.list else grid)(choices) if choices else []
    if not combinations and not candidates:
        raise BadInput("nothing is to be changed", remedy="Give --set FIELD=A,B, or another option with values")
    run = run_given(args.run).resolve()
    return SweepRequest(
        run=run,
        start=args.start,
        named=tuple(named(combinations, candidates)),
        until=args.until,
        criterion=args.best,
        study=None if args.out is None else args.out.absolute(),
        command=("sweep.py", *given),
    )


def _carry_out(plan: SweepPlan, engines: LegEngines, terminal: ViewTerminal, interrupts: Interrupts) -> Sweep:
    sweeping = Sweeping(plan, terminal)
    with closing(engines()) as engine, interrupts.handled(lambda: None):
        sweeping.run(engine, interrupts)
    return sweeping.sweep


def _draw(sweep: Sweep, plan: SweepPlan) -> None:
    """Draw the figure of the sweep.

    Raises:
        BadInput, RecordingError: the run cannot be read.
        RecordingFailed: the figure cannot be written.
    """
    from harness.recording import Recording
    from harness.recording.lineage_reader import LineageReader
    from harness.reports.figures.files import save
    from harness.reports.figures.sweep import sweep_losses  # matplotlib takes a while to import

    with ExitStack() as stack:
        runs = {}
        for leg in sweep.legs:
            with suppress(BadInput, RecordingError):
                if leg.run:
                    runs[leg.name] = stack.enter_context(LineageReader(Recording(plan.study / leg.run)))
        if runs:
            parent = stack.enter_context(LineageReader(Recording(plan.run)))
            try:
                save(sweep_losses(sweep, parent, runs), plan.study / LOSSES)
            except OSError as error:
                raise RecordingFailed(f"{plan.study / LOSSES}: cannot be written ({error.strerror})") from None


def _suggestions(sweep: Sweep, plan: SweepPlan, code: int) -> list[Suggestion]:
    """Suggest what to do with a sweep whose command ends with the exit code `code`."""
    found = [Suggestion("", f"Figure: {plan.study / LOSSES}")] if (plan.study / LOSSES).exists() else []
    best = next((leg for leg in sweep.legs if leg.name == sweep.best), None)
    if code in _UNFINISHED:
        found.append(Suggestion("", "Give the same command again: it goes on from the snapshots"))
    elif best is None:
        found.append(Suggestion("", "Give other values, or an earlier --from"))
    if best is None:
        return found
    run = path_argument(plan.study / best.run)
    if best.last is not None and best.last < plan.end:
        text = f"continue the best one to iteration {plan.end:,}"
        found.append(Suggestion(f"{next_command('restart')} {run} --from {best.last}", text))
    return [*found, Suggestion(f"{next_command('report')} {run}", "see the best one")]


def _code(sweep: Sweep, plan: SweepPlan) -> int:
    """Return the exit code of this command, whose restarts may not be all of the study."""
    codes = [leg.code for leg in sweep.legs if leg.words in plan.wanted]
    for code in _WORST:
        if code in codes:
            return code
    return Exit.DIVERGED if all(code == Exit.DIVERGED for code in codes) else Exit.DONE
