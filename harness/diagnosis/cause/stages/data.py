"""Whether the break needs the data that were read, from which iteration on, and how many batches of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from harness.diagnosis.cause.case import BEFORE, Case
from harness.diagnosis.cause.observing import observe
from harness.diagnosis.cause.other_data import other_orders
from harness.diagnosis.cause.trials import Procedure, Seen, Trial
from harness.diagnosis.robust_stats import logarithm, outside
from harness.schemas.arm import Arm, StreamShifted

STAGE = "data"
FAR = 50  # iterations before the onset
_FARS = (FAR, 3 * FAR)  # a training may bear other data for long
_WIDEST = 16  # batches in a row that are skipped
FEW = 4  # so many batches in a row can hold records that do damage; a longer stretch is a shift of the data
_EARLIER = (5, 15, 30)  # iterations by which data are read earlier
_ORDERS = 3
_BASELINE, _LEAST_ROWS = 200, 16  # iterations that tell which inputs are usual
_FEW = 2  # arms at each step of a search


@dataclass(frozen=True)
class DataFinding:
    """What replays with other data gave.

    Attributes:
        near, far: other data from shortly before the onset on, and from further back.
        cause: the last iteration from which on other data heal, or the first of several batches that break it only
            together; None if other data do not heal.
        width: batches from `cause` on without which training does not break; None if more than 16 are needed, or more
            than leave an arm the room to break.
        skipped: that many batches replaced.
        kept: all others replaced.
        moved: the data from `cause` on, or those like them from before, are read earlier; only where a few batches do
            not suffice.
        unlike: they are seen to be unlike those before, by their inputs or their order.
        searched: the steps of the search for `cause` and `width`.
    """

    near: Seen
    far: Seen | None = None
    cause: int | None = None
    width: int | None = None
    skipped: Seen | None = None
    kept: Seen | None = None
    moved: Seen | None = None
    unlike: bool = False
    searched: tuple[Seen, ...] = ()

    @property
    def heals(self) -> bool:
        return self.cause is not None

    @property
    def break_earlier(self) -> bool:
        """The same data break the training that reads them earlier; so they do where that was not tried.

        Most arms suffice where the data are unlike those before. Where nothing is seen of them, all arms must break: in
        a training that is about to break anyway, some do by chance.
        """
        if self.moved is None:
            return True
        return self.moved.breaks > self.moved.heals if self.unlike else self.moved.all_break

    @property
    def batches(self) -> tuple[int, ...]:
        """The iterations whose batches the break needs."""
        return () if self.cause is None or self.width is None else tuple(range(self.cause, self.cause + self.width))


def find_data(case: Case) -> Procedure[DataFinding]:
    """Replay with other data, and search which of them matter."""
    (near,) = yield from observe(case, STAGE, [_from(case, case.start, case.start, _ORDERS)])
    far, low = None, case.start
    if not near.all_heal:
        low = max(case.first, _far(case))
        if low < case.start:
            (far,) = yield from observe(case, STAGE, [_from(case, low, low, _ORDERS)])
        if far is None or not far.all_heal:
            return DataFinding(near, far)
    searched: list[Seen] = []
    cause = yield from _last_that_heals(case, low, near, searched)
    width, skipped = yield from _width(case, cause, searched)
    kept, moved = None, None
    if width is not None:
        (kept,) = yield from observe(case, STAGE, [_kept(case, cause, width)])
        if kept.all_heal and width < FEW:
            several = yield from _with_earlier(case, cause, width, searched)
            cause, width, skipped, kept = several or (cause, width, skipped, kept)
    first = data_began(case, cause)
    adds_up = first < cause and kept is not None and kept.breaks <= kept.heals  # what came before matters as well
    if width is None or width > FEW or adds_up:
        (moved,) = yield from observe(case, STAGE, [_moved(case, first)])
    unlike = any(first_unlike(case, t) is not None for t in (cause, min(case.at, cause)))
    return DataFinding(near, far, cause, width, skipped, kept, moved, unlike, tuple(searched))


def _far(case: Case) -> int:
    """Return an iteration well before the onset, and before records began to come in the order of their class."""
    return case.at - FAR if case.sorted_from is None else min(case.at - FAR, case.sorted_from - BEFORE)


def _from(case: Case, start: int, first: int, count: int) -> Trial:
    """Return arms from `start` on in which all data are other ones from iteration `first` on."""
    until = max(case.until, first + case.after)
    orders = other_orders(case, first, until, count)
    arms = tuple(Arm(start, until - start, order) for order in orders)
    return Trial(f"other data from {first:,} on", "data-shift", arms)


def _last_that_heals(case: Case, low: int, near: Seen, searched: list[Seen]) -> Procedure[int]:
    """Return the last iteration from which on other data heal; from `low` on they do."""
    start = min(low, case.start)
    good, bad, stride = low, case.until, 1
    steps = [step for step in (case.at, case.at + 1) if step > low]
    if near.breaks > near.heals:  # from there on they do not
        bad, steps = case.start, []
    found = yield from observe(case, STAGE, [_from(case, start, step, _FEW) for step in steps])
    searched += found
    for step, seen in zip(steps, found, strict=True):
        good, bad = (step, bad) if seen.all_heal else (good, min(bad, step))
    while bad - good > 1:
        step = min(good + stride, bad - 1) if bad == case.until else (good + bad) // 2
        (seen,) = yield from observe(case, STAGE, [_from(case, start, step, _FEW)])
        searched.append(seen)
        good, bad = (step, bad) if seen.all_heal else (good, step)
        stride *= 2
    return good


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


def _with_earlier(
    case: Case, cause: int, width: int, searched: list[Seen]
) -> Procedure[tuple[int, int, Seen, Seen] | None]:
    """Return the first and the number of the batches that break training together; None if they are not few.

    Those of `width` iterations from `cause` on do not, without some before them. With the two numbers come the arms in
    which these batches are replaced, and those in which all others are.
    """
    until = cause + width
    for first in range(cause - 1, max(case.start, until - FEW - 1), -1):
        (kept,) = yield from observe(case, STAGE, [_kept(case, first, until - first)])
        if kept.all_break:
            (skipped,) = yield from observe(case, STAGE, [_skipped(case, first, until - first)])
            return (first, until - first, skipped, kept) if skipped.all_heal else None
        searched.append(kept)
    return None


def _skipped(case: Case, cause: int, width: int) -> Trial:
    """Return arms in which the batches of `width` iterations from `cause` on are other ones."""
    start = min(case.start, cause)
    orders = other_orders(case, cause, cause + width, _ORDERS)
    arms = tuple(Arm(start, max(case.until, cause + case.after) - start, order) for order in orders)
    return Trial(f"{batches_named(cause, width)} replaced", "record", arms)


def _kept(case: Case, cause: int, width: int) -> Trial:
    """Return arms in which all batches but those of `width` iterations from `cause` on are other ones."""
    start = min(case.start, cause)
    until = max(case.until, cause + case.after)
    before, after = (other_orders(case, *part, _ORDERS) for part in ((start, cause), (cause + width, until)))
    arms = tuple(Arm(start, until - start, (*one, *other)) for one, other in zip(before, after, strict=True))
    return Trial(f"all but {batches_named(cause, width)} replaced", "placebo", arms)


def _moved(case: Case, cause: int) -> Trial:
    """Return arms that read the data from iteration `cause` on some iterations earlier."""
    starts = sorted({max(case.first, case.start - back) for back in _EARLIER}, reverse=True)
    horizon = max(case.horizon, case.until - cause)  # as many of these data as the control reads
    arms = tuple(Arm(start, horizon, (StreamShifted(start, cause),)) for start in starts)
    return Trial(f"the data from {cause:,} on read earlier", "data-shift", arms)


def data_began(case: Case, cause: int) -> int:
    """Return the iteration from which on the data broke training; other data from `cause` on heal at the latest.

    That is where they became unlike those before. Where they did not, as far as was recorded, it is the onset, if that
    is earlier than `cause`.
    """
    since = first_unlike(case, cause)
    if since is None:
        earlier = min(case.at, cause)
        since = first_unlike(case, earlier)
        return earlier if since is None else since
    return since


def first_unlike(case: Case, cause: int) -> int | None:
    """Return the iteration from which on the data up to `cause` are unlike those before; None if they are not."""
    if case.sorted_from is not None and case.sorted_from <= cause:
        return case.sorted_from
    found = [since for far in _FARS if (since := _unlike_since(case, cause, far)) is not None]
    return next((since for since in found if since < cause), found[0] if found else None)


def _unlike_since(case: Case, cause: int, far: int) -> int | None:
    """Return the same, where the data of more than `far` iterations before `cause` are the usual ones."""
    row = case.row(cause)
    before = case.inputs[max(0, row - _BASELINE - far) : max(0, row - far)]
    if not case.inputs.size or len(before) < _LEAST_ROWS:
        return None
    near = logarithm(case.inputs[row - far : row + 1])
    unlike = np.any(outside(logarithm(before), near), axis=1).tolist()
    if not unlike[-1]:
        return None
    ordinary = [number for number, is_unlike in enumerate(unlike) if not is_unlike]
    return int(case.iterations[row - far + (ordinary[-1] + 1 if ordinary else 0)])


def batches_named(first: int, width: int) -> str:
    """Name the batches of `width` iterations from `first` on."""
    if width == 1:
        return f"batch {first:,}"
    return f"batches {first:,} {'and' if width == 2 else '…'} {first + width - 1:,}"


def replaced_batches(name: str) -> range:
    """Return the iterations whose batches a trial of this name replaces; empty for other trials."""
    found = re.fullmatch(r"batch(?:es)? ([\d,]+)(?: (?:and|…) ([\d,]+))? replaced", name)
    if found is None:
        return range(0)
    first, last = (int(number.replace(",", "")) for number in (found[1], found[2] or found[1]))
    return range(first, last + 1)


def batches_replaced(seen: Seen) -> int:
    """Return how many batches in a row the arms of a trial replaced."""
    changes = [change for change in seen.trial.arms[0].changes if isinstance(change, StreamShifted)]
    return sum((change.stop or change.first) - change.first for change in changes)
