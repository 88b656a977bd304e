"""Other data for an arm: batches of other iterations, each once."""

from __future__ import annotations

from harness.diagnosis.cause.case import BEFORE, Case
from harness.schemas.arm import StreamShifted


def sources(case: Case, length: int, count: int) -> list[int]:
    """Return `count` iterations from which `length` batches in a row can be read in place of others.

    They lie before the break, as far apart as they can. Where training broke too early for that, they come after all
    arms.
    """
    newest = case.at - BEFORE - length
    room = newest - case.began
    if room >= count - 1:
        return [newest - room * number // max(1, count - 1) for number in range(count)]
    beyond = max(case.until, case.at + length) + length
    return [beyond + length * number for number in range(count)]


def other_orders(case: Case, first: int, stop: int, count: int, skip: int = 0) -> list[StreamShifted]:
    """Return `count` changes with which the iterations `first` … `stop` - 1 read other batches, leaving out `skip`."""
    found = sources(case, stop - first, count + skip)
    return [StreamShifted(first, source, stop) for source in found[skip:]]
