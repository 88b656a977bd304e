"""Find out why a run broke: replay it with one thing changed at a time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

if __name__ == "__main__":  # start as `caffe-harness explain` does
    if not __package__:  # run as a file: put the repository, not harness/, on the path
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from harness.dispatch import start

    sys.exit(start("explain", sys.argv[1:]))

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.api.runs import diagnose
from harness.budget import Budget, parse_budget
from harness.caffe_files.file_kind import check_solver, check_state, run_given
from harness.caffe_files.messages import caffe_directory
from harness.cluster.place import add_place, place
from harness.command_parser import CommandParser
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.dispatch import returns_code
from harness.errors import BadInput, RecordingError
from harness.exit_codes import Exit
from harness.experiments import repeat
from harness.explaining.repeated import lines_of
from harness.explaining.session import ExplainRequest, explain
from harness.invocation import command_line, next_command, path_argument, program
from harness.output import visible_line, writing_results
from harness.processes import return_large_blocks
from harness.recording import Recording
from harness.recording.result_files import json_text
from harness.reports.console import results_console
from harness.reports.remedies import remedies, report_of_cause, rest_of_explanation
from harness.reports.replay_screen import ReplayScreen
from harness.reports.suggestion import Suggestion
from harness.reports.terminal_process import TerminalProcess
from harness.reports.text.explanation import show_explanation
from harness.reports.view_terminal import ViewTerminal
from harness.schemas.explanation import Explanation
from harness.supervisor.plan import make_plan
from harness.supervisor.resume import from_solverstate
from harness.supervisor.signals import Interrupts
from harness.supervisor.spawn import WaitingWorker
from harness.supervisor.training_spec import read_training_spec
from harness.training_command import options_of, record
from harness.training_options import add_options

_EXAMPLES = """
The run is replayed from just before its onset, each time with one thing changed: other records, a lower learning rate,
less momentum, an update withheld, and so on. What still breaks then, and what does not, tells the cause. Replays are
kept in RUN/experiments/, so that none is made twice: give the same command again after an interruption, or with a
larger budget, and it goes on. The result is in RUN/explain.json, and `report` shows it.

Examples:
  {command} runs/quick
  {command} runs/quick --budget 10m
  {command} runs/quick --at 5200 --json
  {command} runs/quick --repeat 3f9a0c
  {command} --solver quick_solver.prototxt --resume quick_iter_5000.solverstate --at 5200

The last one is for a training that was not recorded: it is continued from a snapshot of `caffe train` past iteration
T, as by run.py, and that run is explained. Where it needs more options, record it with run.py, and give RUN.

Exit codes: 0 the cause is found, or nothing broke, 1 the result could not be written, 2 bad input (nothing was
replayed), 3 undecided (--repeat: not the same bits), 130 interrupted (what was finished is kept).
"""
_COLUMNS = 120  # of results in a file or a pipe
_BACK, _PAST = 50, 200  # iterations around T that are recorded of a training that was not: before, one with its state


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    command = command_line("explain")
    parser = CommandParser(
        prog=program("explain"),
        description=f"{__doc__}\n{_EXAMPLES.format(command=command)}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    parser.add_argument("run", type=Path, nargs="?", metavar="RUN", help="the directory of a run that has ended")
    parser.add_argument(
        "--at",
        type=int,
        metavar="T",
        help="the iteration at which it went wrong (default: the onset, as report shows it)",
    )
    parser.add_argument(
        "--budget",
        metavar="LIMIT",
        help="start no replay after a time (90s, 10m, 2h) or a number of iterations (2000); what was found by then "
        "counts",
    )
    add_place(parser, "replays")
    parser.add_argument("--json", action="store_true", help="print explain.json instead of text")
    parser.add_argument(
        "--repeat",
        metavar="KEY",
        help="replay one arm of explain.json once more (KEY: its key, or the first digits), print its losses, and tell "
        "whether every bit is the same; nothing else is done",
    )
    training = parser.add_argument_group("a training that was not recorded, in place of RUN")
    training.add_argument("--solver", type=Path, metavar="FILE", help="solver prototxt, as for caffe train")
    training.add_argument("--resume", type=Path, metavar="FILE", help="a solverstate from before iteration T")
    training.add_argument(
        "--out", type=Path, metavar="DIR", help="run directory of the recording (default: runs/SOLVER-DATE-TIME)"
    )
    return parser


@returns_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run with `arguments` (default: the command line's), and return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    args = parser().parse_args(given)
    budget = parse_budget(args.budget)
    _check(args)
    if args.repeat is not None:
        return _repeat(run_given(args.run), args.repeat)
    if args.solver is not None:
        code, run = _record(args, given)
        if run is None or code in (Exit.INTERRUPTED, Exit.RECORDING_FAILED):
            return code
    else:
        run = run_given(args.run)
    return _explain(run, args, budget)


def _check(args: argparse.Namespace) -> None:
    """Check that the arguments go together."""
    unrecorded = {"--solver": args.solver, "--resume": args.resume}
    if args.run is not None:
        for option, value in {**unrecorded, "--out": args.out}.items():
            if value is not None:
                raise BadInput(
                    "is for a training that was not recorded", field=option, value=value, remedy="Leave it or RUN out"
                )
    elif args.solver is None and args.resume is None:
        raise BadInput("is missing", field="RUN", remedy="Give a run directory, or --solver, --resume and --at")
    else:
        for option, value in {**unrecorded, "--at": args.at}.items():
            if value is None:
                raise BadInput("is missing", field=option, remedy="Give --solver, --resume and --at together")
    if args.repeat is not None:
        others = {"--at": args.at, "--budget": args.budget, "--workers": args.workers, "--dask": args.dask}
        others |= {"--json": args.json or None}
        for option, value in others.items():
            if value is not None:
                raise BadInput("does not go with --repeat", field=option, remedy="Leave it out")
        if args.run is None:
            raise BadInput("arms are kept in a run directory", field="--repeat", remedy="Give RUN")


def _explain(run: Path, args: argparse.Namespace, budget: Budget) -> int:
    """Explain a run. Returns the exit code."""
    return_large_blocks()
    interrupts = Interrupts("continue")
    with closing(ViewTerminal()) as terminal, terminal.showing_errors(), interrupts.planning():
        caffe_directory()
        with place(args.dask, args.workers, terminal.message) as where, Recording(run) as recording:
            diagnosis = diagnose(recording)
            request = ExplainRequest(args.at, budget, where.arms)
            found = explain(recording, diagnosis, request, terminal, interrupts)
            suggestions = _suggestions(diagnosis, found)
    with writing_results():
        if args.json:
            print(json_text(found))
        else:
            console = results_console(_COLUMNS)
            show_explanation(found, suggestions, console)
    if interrupts.stop is not None:
        return Exit.INTERRUPTED
    return Exit.DIVERGED if found.verdict.kind == "undecided" else Exit.DONE


def _repeat(run: Path, key: str) -> int:
    """Replay an arm once more. Returns the exit code."""
    interrupts = Interrupts("continue")
    with closing(TerminalProcess(ReplayScreen)) as terminal, terminal.showing_errors():
        caffe_directory()
        try:
            repeated = repeat(run, key, terminal, interrupts)
        except (BadInput, RecordingError):
            if interrupts.stop is not None:
                raise KeyboardInterrupt from None
            raise
    with writing_results():
        for line in lines_of(repeated):
            print(visible_line(line))
    return Exit.DONE if repeated.identical else Exit.DIVERGED


def _record(args: argparse.Namespace, given: Sequence[str]) -> tuple[int, Path | None]:
    """Record a training from its snapshot to past the iteration to explain. Returns the exit code and the run."""
    check_solver(args.solver)
    check_state(args.resume)
    spec = read_training_spec(args.solver)
    start = from_solverstate(args.resume, None, spec.solver.snapshot)
    if not start.iteration <= args.at < spec.solver.max_iter:
        raise BadInput(
            f"training goes on at iteration {start.iteration:,} and ends at {spec.solver.max_iter:,}",
            field="--at",
            value=args.at,
            remedy="Give an iteration between them, or an earlier snapshot",
        )
    options = CommandParser()
    add_options(options, "")
    until = min(args.at + _PAST, spec.solver.max_iter)
    words = ["--until", str(until), "--snapshot-every", "0", *(["--out", str(args.out)] if args.out else [])]
    if args.at - _BACK > start.iteration:  # where arms start
        words += ["--watch", f"{args.at - _BACK}:{args.at - _BACK + 1}", "--capture", "weight,history"]
    chosen = options.parse_args(words)
    told = options_of(chosen, ("explain.py", *given))
    with WaitingWorker() as worker:
        return record(lambda progress, say: make_plan(spec, start, told, progress=progress), chosen, worker)


def _suggestions(diagnosis: Diagnosis, found: Explanation) -> list[Suggestion]:
    run = diagnosis.recording.path.parent
    if found.verdict.kind == "none" and found.levels is None:
        command = f"{next_command('explain')} {path_argument(run)} --at T"
        return [Suggestion(command, "explain what happened at another iteration T")]
    if found.verdict.kind == "none":
        return []
    return [*remedies(diagnosis, found), *rest_of_explanation(run, found), report_of_cause(run)]
