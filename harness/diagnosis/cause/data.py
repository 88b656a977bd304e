"""Whether the break needs the data that were read, from which iteration on, and how many batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.observing import observe
from harness.diagnosis.cause.other_data import other_orders
from harness.diagnosis.cause.trials import Procedure, Seen, Trial
from harness.schemas.arm import Arm

STAGE = "data"
FAR = 50  # iterations before the onset
_WIDEST = 16  # batches in a row that are skipped
_ORDERS = 3
_FEW = 2  # arms at each step of a search


@dataclass(frozen=True)
class DataFinding:
    """What replays with other data gave.

    Attributes:
        near, far: other data from shortly before the onset on, and from further back.
        cause: the last iteration from which on other data heal; None if they do not.
        reversible: other data heal even some iterations later: what was learned of these data is unlearned again.
        width: batches from `cause` on without which training does not break; None if more than 16 are needed.
        skipped: that many batches replaced.
        kept: all others replaced.
        searched: the steps of the search for `cause` and `width`.
    """

    near: Seen
    far: Seen | None = None
    cause: int | None = None
    reversible: bool = False
    width: int | None = None
    skipped: Seen | None = None
    kept: Seen | None = None
    searched: tuple[Seen, ...] = ()

    @property
    def heals(self) -> bool:
        return self.cause is not None

    @property
    def batches(self) -> tuple[int, ...]:
        """The iterations whose batches the break needs."""
        return () if self.cause is None or self.width is None else tuple(range(self.cause, self.cause + self.width))


def find_data(case: Case) -> Procedure[DataFinding]:
    """Replay with other data, and search which of them matter."""
    (near,) = yield from observe(case, STAGE, [_from(case, case.start, case.start, _ORDERS)])
    far, low = None, case.start
    if not near.all_heal:
        low = max(case.first, case.at - FAR)
        if low < case.start:
            (far,) = yield from observe(case, STAGE, [_from(case, low, low, _ORDERS)])
        if far is None or not far.all_heal:
            return DataFinding(near, far)
    searched: list[Seen] = []
    cause, reversible = yield from _last_that_heals(case, low, searched)
    width, skipped = yield from _width(case, cause, searched)
    kept = None
    if width is not None:
        (kept,) = yield from observe(case, STAGE, [_kept(case, cause, width)])
    return DataFinding(near, far, cause, reversible, width, skipped, kept, tuple(searched))


def _from(case: Case, start: int, first: int, count: int) -> Trial:
    """Return arms from `start` on in which all data are other ones from iteration `first` on."""
    orders = other_orders(case, first, case.until, count)
    arms = tuple(Arm(start, case.until - start, (order,)) for order in orders)
    return Trial(f"other data from {first:,}", "data-shift", arms)


def _last_that_heals(case: Case, low: int, searched: list[Seen]) -> Procedure[tuple[int, bool]]:
    """Return the last iteration from which on other data heal, and whether they heal long after the onset as well.

    `low` heals.
    """
    start = min(low, case.start)
    steps = [case.at, case.at + 1] if case.at > low else [case.at + 1]
    found = yield from observe(case, STAGE, [_from(case, start, step, _FEW) for step in steps])
    searched += found
    heals = dict(zip(steps, (seen.all_heal for seen in found), strict=True))
    if heals.get(case.at, True):
        if not heals[case.at + 1]:
            return case.at, False
        late = case.at + max(2, case.after // 4)
        (seen,) = yield from observe(case, STAGE, [_from(case, start, late, _FEW)])
        searched.append(seen)
        if seen.all_heal:
            return case.at, True
        good, bad = case.at + 1, late
    else:
        good, bad = low, case.at
    while bad - good > 1:
        middle = (good + bad) // 2
        (seen,) = yield from observe(case, STAGE, [_from(case, start, middle, _FEW)])
        searched.append(seen)
        good, bad = (middle, bad) if seen.all_heal else (good, middle)
    return good, False


def _width(case: Case, cause: int, searched: list[Seen]) -> Procedure[tuple[int | None, Seen | None]]:
    """Return how many batches from `cause` on must be replaced, and the arms in which they are."""
    limit = min(_WIDEST, max(1, case.until - cause - case.after // 2))
    widths = [width for width in (1, 2, 4, 8, 16) if width <= limit]
    narrow, healing = 0, None
    for width in widths:
        (seen,) = yield from observe(case, STAGE, [_skipped(case, cause, width)])
        searched.append(seen)
        if seen.all_heal:
            healing = width, seen
            break
        narrow = width
    if healing is None:
        return None, None
    while healing[0] - narrow > 1:
        middle = (narrow + healing[0]) // 2
        (seen,) = yield from observe(case, STAGE, [_skipped(case, cause, middle)])
        searched.append(seen)
        if seen.all_heal:
            healing = middle, seen
        else:
            narrow = middle
    return healing


def _skipped(case: Case, cause: int, width: int) -> Trial:
    """Return arms in which the batches of `width` iterations from `cause` on are other ones."""
    start = min(case.start, cause)
    orders = other_orders(case, cause, cause + width, _ORDERS)
    arms = tuple(Arm(start, max(case.until, cause + case.after) - start, (order,)) for order in orders)
    return Trial(f"{batches_named(cause, width)} replaced", "record", arms)


def _kept(case: Case, cause: int, width: int) -> Trial:
    """Return arms in which all batches but those of `width` iterations from `cause` on are other ones."""
    start = min(case.start, cause)
    until = max(case.until, cause + case.after)
    before = other_orders(case, start, cause, _ORDERS) if start < cause else [None] * _ORDERS
    after = other_orders(case, cause + width, until, _ORDERS)
    arms = [
        Arm(start, until - start, tuple(change for change in changes if change is not None))
        for changes in zip(before, after, strict=True)
    ]
    return Trial(f"all but {batches_named(cause, width)} replaced", "placebo", tuple(arms))


def batches_named(first: int, width: int) -> str:
    """Name the batches of `width` iterations from `first` on."""
    return f"batch {first:,}" if width == 1 else f"batches {first:,} … {first + width - 1:,}"


def share_broken(seen: Sequence[Seen]) -> float:
    """Return the share of arms that broke, of those that were judged; NaN for none."""
    runs = sum(one.runs for one in seen)
    return sum(one.breaks for one in seen) / runs if runs else float(np.nan)
