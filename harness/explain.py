"""Find out why a run broke: replay it with one thing changed at a time."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path

if __name__ == "__main__":  # start as `caffe-harness explain` does
    if not __package__:  # run as a file: put the repository, not harness/, on the path
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from harness.dispatch import start

    sys.exit(start("explain", sys.argv[1:]))

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.api.runs import diagnose
from harness.budget import parse_budget
from harness.caffe_files.file_kind import run_given
from harness.caffe_files.messages import caffe_directory
from harness.command_parser import CommandParser
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.errors import BadInput, RecordingError, RecordingFailed
from harness.exit_codes import Exit
from harness.explaining.session import Request, explain
from harness.explaining.showing import MEASURED
from harness.invocation import command_line, next_command, path_argument, program
from harness.output import writing_results
from harness.processes import return_large_blocks
from harness.recording import Recording
from harness.recording.explanation import json_text
from harness.reports.console import Console
from harness.reports.investigation import InvestigationTerminal
from harness.reports.remedies import Explained, after_explanation
from harness.reports.suggestion import Suggestion
from harness.reports.text.explanation import show_explanation
from harness.schemas.explanation import Explanation
from harness.supervisor.signals import Interrupts

_EXAMPLES = """
The run is replayed from just before its onset, each time with one thing changed: other records, a lower learning rate,
no momentum, an update withheld, and so on. What still breaks then, and what does not, tells the cause. Replays are kept
in RUN/experiments/, so that none is made twice: give the same command again after an interruption, or with a larger
budget, and it goes on. The result is in RUN/explain.json, and `report` shows it.

Examples:
  {command} runs/quick
  {command} runs/quick --budget 10m
  {command} runs/quick --at 5200 --json

Exit codes: 0 the cause is found, or nothing broke, 1 the result could not be written, 2 bad input (nothing was
replayed), 3 undecided, 130 interrupted (what was finished is kept).
"""
_NO_TERMINAL = 120  # columns


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    command = command_line("explain")
    parser = CommandParser(
        prog=program("explain"),
        description=f"{__doc__}\n{_EXAMPLES.format(command=command)}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the directory of a run that has ended")
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
    parser.add_argument(
        "--workers", type=_positive, metavar="N", help="replays at a time (default: cores / threads of the run)"
    )
    parser.add_argument("--json", action="store_true", help="print explain.json instead of text")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Run with `arguments` (default: the command line's), and return the exit code."""
    args = parser().parse_args(arguments)
    return_large_blocks()
    interrupts = Interrupts("continue")
    with closing(InvestigationTerminal()) as terminal:
        try:
            with interrupts.planning():
                request = Request(args.at, parse_budget(args.budget), args.workers)
                run = run_given(args.run)
                caffe_directory()
                with Recording(run) as recording:
                    diagnosis = diagnose(recording)
                    found = explain(recording, diagnosis, request, terminal, interrupts)
                    suggestions = _suggestions(diagnosis, found)
        except (BadInput, RecordingError) as error:
            terminal.error(str(error))
            return Exit.BAD_INPUT
        except RecordingFailed as error:
            terminal.error(str(error))
            return Exit.RECORDING_FAILED
        except KeyboardInterrupt:
            return Exit.INTERRUPTED
    with writing_results():
        if args.json:
            print(json_text(found))
        else:
            console = Console(width=None if sys.stdout.isatty() else _NO_TERMINAL)
            show_explanation(found, MEASURED, suggestions, console)
    if interrupts.stop is not None:
        return Exit.INTERRUPTED
    return Exit.DIVERGED if found.verdict.kind == "undecided" else Exit.DONE


def _suggestions(diagnosis: Diagnosis, found: Explanation) -> list[Suggestion]:
    recording, run = diagnosis.recording, diagnosis.recording.path.parent
    at = found.verdict.iteration
    if found.verdict.kind == "none" and found.levels is None:
        command = f"{next_command('explain')} {path_argument(run)} --at T"
        return [Suggestion(command, "explain what happened at another iteration T")]
    if at is None:
        at = diagnosis.onset.iteration if diagnosis.onset is not None else int(recording.iterations[-1])
    row = min(int(recording.iterations.searchsorted(at)), len(recording.iterations) - 1)
    start = max((snapshot for snapshot in diagnosis.snapshots if snapshot <= at), default=None)
    rate = float(recording.series("lr", slice(row, row + 1))[0])
    return after_explanation(Explained(run, diagnosis.solver, recording.params, rate, start), found)
