"""Pack the failure of a run into one file that reproduces it on another machine."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.caffe_files.file_kind import run_given
from harness.caffe_files.messages import caffe_directory
from harness.capsules.file.archive import open_capsule
from harness.capsules.packing.pack import Choice, Packed, Packer
from harness.capsules.privacy.passing_on import PassingOn
from harness.command_parser import CommandParser
from harness.errors import BadInput, RecordingFailed
from harness.exit_codes import Exit
from harness.invocation import next_command, path_argument
from harness.output import print_result, visible
from harness.processes import return_large_blocks
from harness.quantities import file_size
from harness.reports.replay_screen import ReplayScreen
from harness.reports.terminal_process import TerminalProcess
from harness.supervisor.signals import Interrupts

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_LARGEST = 100_000  # iterations

_DETAILS = """
The capsule begins 5 iterations before the onset and ends where the damage is complete, after 50 iterations at most.
The run is replayed from its nearest snapshot, window or start to the first of these iterations, and they are trained
once more out of what will be packed; both must have the digests that the run recorded.

Exit codes: 0 done, 1 the capsule could not be written, 2 bad input, or the run cannot be repeated bit for bit (nothing
was written), 4 the worker, which runs Caffe, died, 130 interrupted.
"""


def add_parser(actions: _SubParsersAction[CommandParser]) -> None:
    """Add the arguments of this sub-command."""
    parser = actions.add_parser(
        "pack",
        help="pack the failure of a run into one file",
        description=f"{__doc__}\n{_DETAILS}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory, of a run that has ended or died")
    parser.add_argument(
        "--at", type=int, metavar="T", help="the iteration around which to pack (default: the onset of the divergence)"
    )
    parser.add_argument(
        "--length",
        type=int,
        metavar="N",
        help="the number of iterations (default: to the end of the damage, at most 50)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="F",
        help="the capsule (default: RUN.capsule beside RUN, or RUN-2.capsule and so on)",
    )
    parser.add_argument(
        "--anonymous",
        action="store_true",
        help="leave out paths, the names of host, run, net and files, the command line, times, and what describes "
        "images beside their pixels; keys of records become numbers. Names of layers and blobs stay",
    )
    parser.add_argument(
        "--blank",
        action="store_true",
        help="replace the pixels of records by their mean: of all but those that deviate in the onset's batch (or that "
        "explain.json names), as long as the break remains when it is replayed; else of fewer. Labels stay",
    )
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Run with the parsed arguments, and return the exit code."""
    return_large_blocks()
    interrupts = Interrupts("continue")
    with closing(TerminalProcess(ReplayScreen)) as terminal, terminal.showing_errors():
        try:
            with interrupts.planning():
                if args.length is not None and not 1 <= args.length <= _LARGEST:
                    raise BadInput(
                        "not a number of iterations",
                        field="--length",
                        value=args.length,
                        remedy=f"Give 1 to {_LARGEST:,}",
                    )
                run = run_given(args.run).resolve()
                caffe_directory()
                out = (args.out or _free(run)).absolute()
                packer = Packer(run, terminal, interrupts, terminal.message)
                change = PassingOn(args.anonymous, args.blank, interrupts, terminal.message)
                packed = packer.pack(Choice(args.at, args.length), out, change)
        except (RecordingFailed, OSError) as error:
            raise RecordingFailed(f"the capsule could not be written: {error}") from None
    _tell(packed)
    print_result(str(args.out or packed.path))
    return Exit.DONE


def _free(run: Path) -> Path:
    """Return the path of a capsule beside `run` at which there is nothing."""
    names = (f"{run.name}{f'-{number}' if number > 1 else ''}.capsule" for number in itertools.count(1))
    return next(path for path in map(run.with_name, names) if not os.path.lexists(path))


def _tell(packed: Packed) -> None:
    """Say how large the capsule is, and what to do with it."""
    with open_capsule(packed.path) as archive:
        parts: Counter[str] = Counter()
        for member in archive.manifest.members:
            parts[member.name.partition("/")[0]] += archive.stored_size(member)
    lines = [
        f"{file_size(packed.path.stat().st_size)}, which unpack to {file_size(packed.manifest.size)}: "
        + ", ".join(f"{name} {file_size(size)}" for name, size in parts.most_common()),
        f"To repeat it, here or elsewhere: {next_command('capsule')} run {path_argument(packed.path)}",
    ]
    with suppress(OSError):
        print(*map(visible, lines), sep="\n", file=sys.stderr, flush=True)
