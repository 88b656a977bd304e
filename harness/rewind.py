"""Store all arrays of iterations of a run after the fact, by an exact replay."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # start as `caffe-harness rewind` does
    if not __package__:  # run as a file: put the repository, not harness/, on the path
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from harness.dispatch import start

    sys.exit(start("rewind", sys.argv[1:]))

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.api.runs import diagnose
from harness.caffe_files.file_kind import run_given
from harness.command_parser import CommandParser
from harness.diagnosis.recorded.damage_span import span
from harness.dispatch import returns_code
from harness.errors import BadInput
from harness.invocation import command_line, program
from harness.output import print_result
from harness.recording import Recording
from harness.recording.side_windows import DIRECTORY
from harness.replay.on_screen import RewindRequest, rewind_on_screen
from harness.schemas.captures import CAPTURES
from harness.schemas.window import Window, parse_watch
from harness.supervisor.options import Options

_EXAMPLES = """
The run is replayed from its nearest snapshot, window or start. At every iteration its weights must have the digest that
the run recorded; the replay stops at the first that differs. The window is stored in a file of its own below
RUN/windows/, and from then on restart, report and notebooks use it as if the run had been made with --watch. The other
files of the run stay as they are.

Examples:
  {command} runs/quick
  {command} runs/quick --watch 118900:118950
  {command} runs/quick --watch 0:2 --watch onset --capture weight,gradient

Exit codes: 0 done, 1 the window could not be written, 2 bad input (nothing was replayed), 3 the replay differed from
the run, 4 the worker, which runs Caffe, died, 130 interrupted. What was verified until then is stored.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    command = command_line("rewind")
    parser = CommandParser(
        prog=program("rewind"),
        description=f"{__doc__}\n{_EXAMPLES.format(command=command)}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    parser.add_argument(
        "--watch",
        action="append",
        metavar="A:B",
        help="store all weights, gradients, updates and inputs of iterations A … B-1; `onset` means from 5 iterations "
        "before the onset to the end of the damage, at most 50; may be given several times (default: onset)",
    )
    parser.add_argument(
        "--capture",
        default=",".join(CAPTURES),
        metavar="LIST",
        help="the arrays to store: some of weight, gradient, update, input and history (the solver's, with which every "
        "iteration of the window can be restarted); what is stored already is not stored again (default: %(default)s)",
    )
    return parser


@returns_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run with `arguments` (default: the command line's), and return the exit code."""
    args = parser().parse_args(arguments)
    found = rewind_on_screen(lambda: _request(args))
    for path in found.files:
        print_result(str(run_given(args.run) / DIRECTORY / path.name))
    return found.code


def _request(args: argparse.Namespace) -> RewindRequest:
    capture = Options(capture=args.capture).captures
    given = [text if text == "onset" else parse_watch(text) for text in args.watch or ["onset"]]
    run = run_given(args.run)
    return RewindRequest(run, _windows(run, given), capture)


def _windows(run: Path, given: Sequence[Window | str]) -> list[Window]:
    return [window if isinstance(window, Window) else _around_onset(run) for window in given]


def _around_onset(run: Path) -> Window:
    with Recording(run) as recording:
        found = span(recording, diagnose(recording))
    if found is None:
        raise BadInput(
            "the run did not diverge, so that there is no onset",
            file=run,
            field="--watch",
            value="onset",
            remedy="Give --watch A:B",
        )
    return found
