"""Record, diagnose and restart training runs of BVLC Caffe."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import harness
from harness import output
from harness.command_parser import CommandParser
from harness.dispatch import module_of, returns_code, start
from harness.errors import BadInput
from harness.exit_codes import Exit
from harness.missing_packages import guarded
from harness.output import visible

# Libraries are imported where they are used: `guarded` says what to do where one is missing.
if TYPE_CHECKING:
    from argparse import _SubParsersAction

COMMANDS = {
    "run": "step a solver and record what every layer does",
    "restart": "continue a run from its last good snapshot, exactly, with other hyperparameters",
    "explain": "find out why a run broke: replay it with one thing changed at a time",
    "rescue": "get a broken run to its end: find the smallest change that gets past the break, and continue",
    "sweep": "restart a run several times with other settings, and compare what becomes of it",
    "rewind": "store all arrays of iterations of a run after the fact, by an exact replay",
    "compare": "find where two runs first differ, bit for bit",
    "readlog": "diagnose a training run from its log alone",
    "report": "write a page about a recorded run that opens offline in any browser",
    "capsule": "pack the failure of a run into one file that repeats it elsewhere, and use such files",
    "make-lmdb": "make the LMDBs that a Data layer reads, from a folder of images or from lists",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: the command line's) begin with, and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    output.open_standard_files()
    output.show_exceptions()
    if given and given[0] in COMMANDS:
        return start(given[0], given[1:])
    try:
        return guarded(lambda: _without_command(given))
    finally:
        output.flush_or_discard()


def parser() -> argparse.ArgumentParser:
    """Return the parser of `caffe-harness` with those of all its commands. This imports everything they use."""
    top, commands = _parser()
    for name, summary in COMMANDS.items():
        command = module_of(name).parser()
        _complete_files(command)
        commands.add_parser(
            name,
            prog=f"{top.prog} {name}",
            help=summary,
            parents=[command],
            add_help=False,  # the parent's
            description=command.description,
            epilog=command.epilog,
            formatter_class=command.formatter_class,
        )
    return top


def _complete_files(command: argparse.ArgumentParser) -> None:
    """Let shtab complete names of files wherever a path is expected."""
    import shtab

    for action in command._actions:  # argparse has no public list of them
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _complete_files(inner)
        elif action.type is Path or action.metavar in ("FILE", "DIR", "LOG"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]


@returns_code
def _without_command(arguments: Sequence[str]) -> int:
    """Do what needs no command, and return the exit code."""
    with output.writing_results():
        return _main(arguments)
    return Exit.DONE  # the reader of a pipe has closed it


def _main(arguments: Sequence[str]) -> int:
    """Do what needs no command: --help, --version, --print-completion."""
    import shtab

    top, commands = _parser()
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary)
    args = top.parse_args(arguments)
    if args.version:
        print(visible(_versions()))
    elif args.print_completion:
        print(shtab.complete(parser(), shell=args.print_completion))
    else:
        top.print_help(sys.stderr)
        return Exit.BAD_INPUT
    return Exit.DONE


def _parser() -> tuple[CommandParser, _SubParsersAction[CommandParser]]:
    import shtab
    from rich_argparse import RawDescriptionRichHelpFormatter

    top = CommandParser(prog="caffe-harness", description=__doc__, formatter_class=RawDescriptionRichHelpFormatter)
    top.add_argument("--version", action="store_true", help="print the versions of the harness and of Caffe")
    top.add_argument(
        "--print-completion",
        choices=shtab.SUPPORTED_SHELLS,
        metavar="SHELL",
        help=f"print a completion script for {', '.join(shtab.SUPPORTED_SHELLS)}",
    )
    commands = top.add_subparsers(
        title="commands", metavar="COMMAND", description="`caffe-harness COMMAND --help` describes its options."
    )
    return top, commands


def _versions() -> str:
    """Return the version of the harness, and what is known of the Caffe that it runs."""
    found = [f"caffe-harness {harness.__version__}"]
    try:
        from harness.supervisor.device import caffe_build

        build = caffe_build()
    except BadInput as error:
        found.append(f"Caffe: {error}")
    else:
        if "key" in build:
            found.append(f"Caffe {build['version']} (build {build['key']}, device {build['device']}, {build['path']})")
        else:
            found.append(f"Caffe that tools/setup has not built ({build['path']})")
    return "\n".join(found)


if __name__ == "__main__":
    sys.exit(main())
