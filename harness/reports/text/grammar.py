"""English grammar that several texts share."""

from __future__ import annotations

from collections.abc import Sequence

_MOST_NAMED = 3


def list_names(names: Sequence[str]) -> str:
    """Join `names` as `a, b and c`; of more than four, the first three and the number of the others."""
    shown = list(names) if len(names) <= _MOST_NAMED + 1 else [*names[:_MOST_NAMED], f"{len(names) - _MOST_NAMED} more"]
    *first, last = shown or [""]
    return f"{', '.join(first)} and {last}" if first else last


def count(number: int, noun: str) -> str:
    """Give a number of things: `1 display`, `2 displays`, `no displays`."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
