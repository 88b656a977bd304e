"""Exceptions of this package. Their messages name the file, the field, the value and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BadInput(Exception):
    """Input that cannot be used; nothing was started (exit code 2).

    The message names the file, the field, the value, the problem and the remedy.
    """

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


class RecordingError(Exception):
    """A recording cannot be read, or does not hold what was asked of it."""


class RecordingFailed(Exception):
    """The recording cannot be written any further; what was written before stays readable."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Suggest the names in `known` that look like `word` ("Did you mean …?"), or list all of them if none does."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Known: {', '.join(names)}."
