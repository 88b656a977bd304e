"""Make the LMDBs that a Data layer reads, from a folder of images or from lists."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

if __package__ in (None, ""):  # run as a file: put the repository, not harness/, on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

Handler = Callable[[int, FrameType | None], object] | int | None
_INTERRUPTED = "interrupted: run the same command to continue"
_SHOW_CURSOR = "\033[?25h"  # a progress bar hides it


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    from harness.imageset.options import parser

    return parser()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with `arguments` (default: the command line's), and return the exit code."""
    # imported here because it takes a while, after the handler of Ctrl-C is installed
    from harness.errors import HarnessError
    from harness.exit_codes import Exit
    from harness.imageset.options import parse
    from harness.imageset.pipeline import make_lmdbs
    from harness.reports.console import Console, complain

    console = Console(stderr=True)
    before = _on_interrupt(_stop_in_order)
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        _print_summary(make_lmdbs(options, console))
    except HarnessError as error:
        complain(error)
        return error.code
    except KeyboardInterrupt:
        with suppress(OSError):
            console.print(_INTERRUPTED, style="bold yellow")
        return Exit.INTERRUPTED
    finally:
        _on_interrupt(before)
    return Exit.DONE


def _print_summary(summary: str) -> None:
    from harness.output import ResultFailed, visible, writing_results

    with suppress(ResultFailed), writing_results():  # if nobody can read it: report.txt contains it
        print(visible(summary))


def _on_interrupt(handler: Handler) -> Handler:
    """Have Ctrl-C call `handler`, unless the parent process ignores it; return the handler before."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)
    return before


def _stop_in_order(*_: object) -> None:
    _on_interrupt(_stop_at_once)  # a second Ctrl-C does not wait for the clean-up that the first one began
    raise KeyboardInterrupt


def _stop_at_once(*_: object) -> None:
    """Exit immediately: finished work is saved at any moment, and workers die with their parent."""
    with suppress(OSError):
        os.write(2, f"{_SHOW_CURSOR if os.isatty(2) else ''}{_INTERRUPTED}\n".encode())
    os._exit(130)


if __name__ == "__main__":
    _on_interrupt(_stop_at_once)  # during imports, when there is nothing to clean up
    from harness.missing_packages import guarded
    from harness.output import flush_or_discard, open_standard_files, show_exceptions

    open_standard_files()
    show_exceptions()
    try:
        code = guarded(main)
    finally:
        flush_or_discard()
    if code == 130:  # an executor whose shutdown was interrupted may block the interpreter's exit forever
        os._exit(code)
    sys.exit(code)
