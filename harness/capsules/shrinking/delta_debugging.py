"""Leave out what a failure does not need, by trying (Zeller and Hildebrandt, doi:10.1109/32.988498).

The result is small, not unique, and says nothing about causes: where effects add up, any half of the culprits may be
enough, and an arbitrary one is what remains.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def ddmin(items: Sequence[Item], fails: Callable[[tuple[Item, ...]], bool]) -> tuple[Item, ...]:
    """Return a part of `items` that still fails, and of which no single item can be left out (1-minimal).

    Args:
        items: in their order, of which all together are known to fail.
        fails: tries a part of them, in their order. It is called once for each part, first for the empty one.
    """
    known: dict[tuple[int, ...], bool] = {}

    def fail(part: tuple[int, ...]) -> bool:
        if part not in known:
            known[part] = fails(tuple(items[n] for n in part))
        return known[part]

    kept = tuple(range(len(items)))
    if not kept or fail(()):
        return ()
    parts = 2
    while len(kept) > 1:
        pieces = _split(kept, parts)
        smaller = next((piece for piece in pieces if fail(piece)), None)
        if smaller is not None:
            kept, parts = smaller, 2
            continue
        rests = [tuple(n for n in kept if n not in piece) for piece in map(frozenset, pieces)]
        smaller = next((rest for rest in rests if fail(rest)), None)
        if smaller is not None:
            kept, parts = smaller, max(2, parts - 1)
        elif parts < len(kept):
            parts = min(len(kept), 2 * parts)
        else:
            break
    return tuple(items[n] for n in kept)


def fewest(items: Sequence[Item], fails: Callable[[tuple[Item, ...]], bool], tries: int) -> tuple[Item, ...]:
    """Return a part of `items` that fails, found by `ddmin` in at most so many `tries`; then one may be left out."""
    found, tried = tuple(items), 0

    def within(part: tuple[Item, ...]) -> bool:
        nonlocal found, tried
        if tried >= tries:
            return False
        tried += 1
        failed = fails(part)
        found = part if failed else found
        return failed

    ddmin(items, within)
    return found


def least(low: int, high: int, fails: Callable[[int], bool]) -> int:
    """Return the smallest number from `low` to `high` that fails, by halving, if all above it fail as well.

    Otherwise it is one that fails. `high` is known to.
    """
    while low < high:
        middle = (low + high) // 2
        if fails(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _split(kept: tuple[int, ...], parts: int) -> list[tuple[int, ...]]:
    bounds = [len(kept) * n // parts for n in range(parts + 1)]
    return [kept[start:stop] for start, stop in itertools.pairwise(bounds)]
