"""English grammar that several texts share."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness.schemas.captures import ALL_CAPTURES

_MOST_NAMED = 3


def list_names(names: Sequence[str]) -> str:
    """Join `names` as `a, b and c`; of more than four, the first three and the number of the others."""
    shown = list(names) if len(names) <= _MOST_NAMED + 1 else [*names[:_MOST_NAMED], f"{len(names) - _MOST_NAMED} more"]
    *first, last = shown or [""]
    return f"{', '.join(first)} and {last}" if first else last


def name_arrays(kinds: Collection[str]) -> str:
    """Name those of `kinds` that `--capture` takes: `weights, gradients and the solver's history`."""
    names = ["the solver's history" if kind == "history" else f"{kind}s" for kind in ALL_CAPTURES if kind in kinds]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def count(number: int, noun: str) -> str:
    """Give a number of things: `1 display`, `2 displays`, `no displays`."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def shortened(name: str, most: int) -> str:
    """Shorten a name to `most` characters, in its middle: names differ at both ends."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[len(name) - (most - most // 2 - 1) :]}"
