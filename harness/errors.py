"""Exceptions of this package, each with the exit code of the command that it ends."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from harness.exit_codes import Exit


class HarnessError(Exception):
    """An error that ends a command, with a message for the user: the file, the field, the value, and what to do.

    Attributes:
        code: the exit code of the command.
        is_shown: the user was told already.
    """

    code: int
    is_shown = False


class BadInput(HarnessError):
    """Input that cannot be used; nothing was started.

    The message names the file, the field, the value, the problem and the remedy.
    """

    code = Exit.BAD_INPUT

    def __init__(
        self,
        problem: str,
        *,
        remedy: str,
        file: object = None,
        field: str | None = None,
        value: object = None,
    ) -> None:
        self.problem = problem
        self.remedy = remedy
        self.file = None if file is None else str(file)
        self.field = field
        self.value = value
        separator = " " if field and field.startswith("-") else " = "
        subject = separator.join(str(part) for part in (field, value) if part is not None)
        where = ": ".join(part for part in (self.file, subject) if part)
        super().__init__(f"{where}: {problem}. {remedy}" if where else f"{problem}. {remedy}")


class RecordingError(HarnessError):
    """A recording cannot be read, or does not hold what was asked of it."""

    code = Exit.BAD_INPUT


class RecordingFailed(HarnessError):
    """The recording, or another result, cannot be written any further; what was written before stays readable."""

    code = Exit.RECORDING_FAILED


def nearest(word: str, known: Iterable[str]) -> str:
    """Suggest the names in `known` that look like `word` ("Did you mean …?"), or list all of them if none does."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Known: {', '.join(names)}."
