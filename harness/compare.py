"""Find where two runs first differ, bit for bit."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # start as `caffe-harness compare` does
    if not __package__:  # run as a file: put the repository, not harness/, on the path
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from harness.dispatch import start

    sys.exit(start("compare", sys.argv[1:]))

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.caffe_files.file_kind import run_given
from harness.command_parser import CommandParser
from harness.diagnosis.compare import compare
from harness.diagnosis.settings import differing_settings
from harness.dispatch import returns_code
from harness.exit_codes import Exit
from harness.invocation import command_line, program
from harness.output import writing_results
from harness.recording import Recording
from harness.recording.run_directory import read_info
from harness.reports.console import results_console
from harness.reports.text.comparison import show
from harness.supervisor.training_spec import recorded_fields

_EXAMPLES = """
Compares the digest of all weights, the losses and the learning rate at every iteration that both runs recorded. Around
the first difference it also compares their windows (--watch), which show the layer and the element.

Example:
  {command} runs/first runs/second

Exit codes: 0 compared (identical or not: see the first word of the result), 1 the result could not be written, 2 bad
input.
"""
_COLUMNS = 160  # of results in a file or a pipe


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    command = command_line("compare")
    parser = CommandParser(
        prog=program("compare"),
        description=f"{__doc__}\n{_EXAMPLES.format(command=command)}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    for name in ("a", "b"):
        parser.add_argument(name, type=Path, metavar=f"RUN_{name.upper()}", help="a run directory")
    return parser


@returns_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run with `arguments` (default: the command line's), and return the exit code."""
    args = parser().parse_args(arguments)
    with Recording(run_given(args.a)) as a, Recording(run_given(args.b)) as b:
        info_a, info_b = read_info(a.path.parent), read_info(b.path.parent)
        fields = recorded_fields(info_a, args.a), recorded_fields(info_b, args.b)
        found = compare(a, b, info_a, info_b, differing_settings(*fields))
    with writing_results():
        show(found, (str(args.a), str(args.b)), results_console(_COLUMNS))
    return Exit.DONE
