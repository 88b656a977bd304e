"""Unpack a capsule to an ordinary run directory, which restart, report, compare and rewind use."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.capsule_commands.progress import showing_progress
from harness.capsules.file.capsule_file import unpack
from harness.command_parser import CommandParser
from harness.errors import RecordingFailed
from harness.exit_codes import Exit
from harness.invocation import next_command, path_argument
from harness.output import print_result, visible

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(actions: _SubParsersAction[CommandParser]) -> None:
    """Add the arguments of this sub-command."""
    parser = actions.add_parser(
        "open",
        help="unpack a capsule to a run directory, for restart, report and compare",
        description=f"{__doc__} Nothing is trained.",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="F", help="a capsule")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="RUN", help="the run directory, which must not exist or be empty"
    )
    add_trust(parser)
    parser.set_defaults(main=main)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the option --trust, for sub-commands that make it possible to train the net of a capsule."""
    parser.add_argument(
        "--trust",
        action="store_true",
        help="accept a net with Python layers: they run code of modules on this machine, as the net says (`show` lists "
        "them)",
    )


def main(args: argparse.Namespace) -> int:
    """Run with the parsed arguments, and return the exit code."""
    try:
        with showing_progress("Unpacking") as progress:
            manifest = unpack(args.file, args.out, trust=args.trust, progress=progress)
    except OSError as error:
        raise RecordingFailed(
            f"{args.out}: cannot be written ({error.strerror}). Nothing is left of it; give another --out"
        ) from None
    print_result(str(args.out))
    again = f"{next_command('restart')} {path_argument(args.out)} --from {manifest.first} --until {manifest.until}"
    with suppress(OSError):
        print(visible(f"To repeat its iterations: {again}"), file=sys.stderr, flush=True)
    return Exit.DONE
