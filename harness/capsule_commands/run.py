"""Train the iterations in a capsule, and report whether they break as they did when they were recorded."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.caffe_files.messages import caffe_directory
from harness.capsule_commands.open import add_trust
from harness.capsules.file.capsule_file import unpack
from harness.capsules.repeating.repetition import run_opened
from harness.command_parser import CommandParser
from harness.errors import BadInput, RecordingError, RecordingFailed
from harness.exit_codes import Exit
from harness.output import visible_json, writing_results
from harness.processes import return_large_blocks
from harness.reports.console import results_console
from harness.reports.replay_screen import ReplayScreen
from harness.reports.terminal_process import TerminalProcess
from harness.reports.text.capsule_verdict import as_json, show
from harness.schemas.capsule import Manifest
from harness.schemas.repetition import Verdict
from harness.supervisor.signals import Interrupts

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_AGAIN = "-again"
_COLUMNS = 160  # of results in a file or a pipe

_DETAILS = """
The result is one of these:

  same bits                every iteration began with the recorded weights
  same break, other bits   the onset is at most one iteration away, and each loss ends at the same level
  same course, other bits  likewise, where nothing broke
  different                it did not break in the same way; what is other is listed, with what may be the reason

Exit codes: 0 it broke in the same way, 1 the result could not be written, 2 bad input, a damaged capsule included, 3 it
did not break in the same way, 4 the worker, which runs Caffe, died, 130 interrupted.
"""


def add_parser(actions: _SubParsersAction[CommandParser]) -> None:
    """Add the arguments of this sub-command."""
    parser = actions.add_parser(
        "run",
        help="train the iterations in a capsule, and report whether they break as they did",
        description=f"{__doc__}\n{_DETAILS}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="F", help="a capsule")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="RUN",
        help=f"keep what is trained: the opened capsule becomes RUN, and its repetition RUN{_AGAIN} (default: in a "
        "temporary directory)",
    )
    add_trust(parser)
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Run with the parsed arguments, and return the exit code."""
    return_large_blocks()
    interrupts = Interrupts("continue")
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="caffe-harness-") as scratch,
        closing(TerminalProcess(ReplayScreen)) as terminal,
        terminal.showing_errors(),
    ):
        opened = (args.out or Path(scratch) / "capsule").absolute()
        try:
            with interrupts.planning():
                caffe_directory()
                out = opened.with_name(f"{opened.name}{_AGAIN}")
                if os.path.lexists(out):
                    raise BadInput("exists already", field="--out", value=out, remedy="Give another --out")
                manifest = unpack(args.file, opened, trust=args.trust)
                terminal.message(f"Training iterations {manifest.first:,} to {manifest.until - 1:,} of {args.file}")
                verdict = run_opened(opened, manifest, out, terminal, interrupts)
        except (BadInput, RecordingError) as error:
            raise RecordingError(_about(error, args.file, opened)) from None
        except OSError as error:
            raise RecordingFailed(str(error)) from None
    _print(args, manifest, verdict, time.monotonic() - started)
    if verdict.ended is not None:
        return Exit.WORKER_DIED
    return Exit.DONE if verdict.reproduced else Exit.DIVERGED


def _about(error: Exception, file: Path, opened: Path) -> str:
    """Return the message of an error with the capsule `file` in place of the directory `opened`, which may be gone."""
    text = str(error).replace(f"{opened}/", f"{file}: ").replace(str(opened), str(file))
    return text if str(file) in text else f"{file}: {text}"


def _print(args: argparse.Namespace, manifest: Manifest, verdict: Verdict, seconds: float) -> None:
    with writing_results():
        if args.json:
            print(visible_json(json.dumps(as_json(verdict, manifest, seconds), indent=2)))
        else:
            show(verdict, manifest, results_console(_COLUMNS))
