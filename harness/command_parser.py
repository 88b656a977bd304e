"""The parser of a command's arguments."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from harness.output import visible_line

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors show control characters in the arguments as escapes, and end the program as documented
    also where they cannot be printed.
    """

    def error(self, message: str) -> NoReturn:
        super().error(visible_line(message))

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        with suppress(OSError, AttributeError):  # closed from the start
            super()._print_message(message, file)


def positive(text: str) -> int:
    """Convert an argument that is a whole number above 0.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)
