"""Make the LMDBs that a Data layer reads, from a folder of images or from lists."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

if __package__ in (None, ""):  # run as a file: put the repository, not harness/, on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

Handler = Callable[[int, FrameType | None], Any] | int | None
_INTERRUPTED = "interrupted: the same command goes on from here"
_SHOW_CURSOR = "\033[?25h"  # which a progress bar hides


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    from harness.imageset.options import parser

    return parser()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with `arguments` (default: the command line's), and return the exit code."""
    # here, after the handler of a Ctrl-C: they take a while
    from rich.console import Console
    from rich.text import Text

    from harness.errors import BadInput
    from harness.imageset import Stopped
    from harness.imageset.making import make
    from harness.imageset.options import parse
    from harness.schemas.outcome import Exit

    console = Console(stderr=True)
    before = _on_interrupt(_end_in_order)
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        _tell(make(options, console))
    except (BadInput, Stopped) as error:
        console.print(Text(f"error: {error}", style="bold red"), soft_wrap=True)
        return Exit.BAD_INPUT if isinstance(error, BadInput) else 1
    except KeyboardInterrupt:
        console.print(_INTERRUPTED, style="bold yellow")
        return Exit.INTERRUPTED
    finally:
        _on_interrupt(before)
    return Exit.DONE


def _tell(summary: str) -> None:
    try:
        print(summary, flush=True)
    except BrokenPipeError:  # nobody reads it, and report.txt has it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _on_interrupt(handler: Handler) -> Handler:
    """Ctrl-C calls `handler`, unless whoever started this had it ignored; what it did before."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)
    return before


def _end_in_order(*_: object) -> None:
    _on_interrupt(_end_at_once)  # a second Ctrl-C does not wait for what the first one began
    raise KeyboardInterrupt


def _end_at_once(*_: object) -> None:
    """What is done is safe at any moment, and workers die with their parent."""
    os.write(2, f"{_SHOW_CURSOR if os.isatty(2) else ''}{_INTERRUPTED}\n".encode())
    os._exit(130)


if __name__ == "__main__":
    _on_interrupt(_end_at_once)  # while it imports, when there is nothing to put in order
    code = main()
    if code == 130:  # an executor whose end was interrupted may wait for ever at the interpreter's
        os._exit(code)
    sys.exit(code)
