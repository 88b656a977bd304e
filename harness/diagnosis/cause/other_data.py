"""Other data for an arm: batches of other iterations, each once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count as numbers_from
from itertools import groupby, islice

from harness.diagnosis.cause.case import BEFORE, Case
from harness.schemas.arm import StreamShifted

Order = tuple[StreamShifted, ...]


def other_orders(case: Case, first: int, stop: int, count: int, skip: int = 0) -> list[Order]:
    """Return `count` times the changes by which the iterations `first` … `stop` - 1 read other batches.

    The first `skip` choices are left out.
    """
    return [_order(first, chosen) for chosen in sources(case, stop - first, count + skip, first)[skip:]]


def sources(case: Case, length: int, count: int, first: int) -> list[Sequence[int]]:
    """Choose `count` times `length` iterations whose batches can be read in place of those from `first` on.

    They lie before the break, as far apart as they can, and before `first` if that leaves enough: what is replaced is
    suspected itself. Where training broke too early for either, they come after all arms. Iterations that read a record
    from near the break are left out: one that breaks training is not to come back in a small data set.
    """
    for stop in (min(first, case.at - BEFORE), case.at - BEFORE):
        before = [t for t in range(case.earliest, stop) if t not in case.alike]
        room = len(before) - length
        if room >= count - 1:
            begins = [room - room * number // max(1, count - 1) for number in range(count)]
            return [before[begin : begin + length] for begin in begins]
    beyond = (t for t in numbers_from(max(case.until, case.at + length) + length) if t not in case.alike)
    return [list(islice(beyond, length)) for _ in range(count)]


def _order(first: int, iterations: Sequence[int]) -> Order:
    """Return the changes by which the iterations from `first` on read the batches of `iterations`, one each."""
    shifts = []
    for _, stretch in groupby(enumerate(iterations, first), lambda pair: pair[1] - pair[0]):
        (start, source), *others = stretch
        shifts.append(StreamShifted(start, source, start + 1 + len(others)))
    return tuple(shifts)
