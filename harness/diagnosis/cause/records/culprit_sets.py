"""Test culprit records as a set: whether the break needs them, whether they suffice, and how many of them do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.observing import measure, observe, seen
from harness.diagnosis.cause.records.bench import Bench
from harness.diagnosis.cause.records.effects import STAGE
from harness.diagnosis.cause.records.stand_ins import Sources, Spot, replaced
from harness.diagnosis.cause.trials import OutOfBudget, Procedure, Seen, Trial
from harness.schemas.arm import Arm, Place

_HEALING, _PLACEBOS, _ELSEWHERE, _SUBSETS = 8, 3, 5, 3  # arms of each question
_LONG, _HEALING_LONG = 60, 5  # an arm of so many iterations is long, and fewer of them are made
_EARLIER, _LATER = (5, 12, 20, 8, 2), (2, 4, 7, 1, 10)  # iterations by which the records are moved
_EARLIER_ONES = 3  # of the arms with moved records, if possible
_RATE = 0.1  # how much the learning rate may differ there


@dataclass(frozen=True)
class Subsets:
    """What happens with only `size` of the culprit records: other ones in each arm."""

    size: int
    seen: Seen


@dataclass(frozen=True)
class SetTests:
    """How the training goes on with and without the culprit records.

    Attributes:
        count: the culprit records.
        replaced: ordinary records are in their places.
        placebo: ordinary records are in the places of all other records of their batches; None if there are none.
        elsewhere: they stand in other batches; None where that was not tried.
        subsets: some of them, half as many each time.
        complete: the budget sufficed for all of it.
    """

    count: int
    replaced: Seen
    placebo: Seen | None
    elsewhere: Seen | None = None
    subsets: tuple[Subsets, ...] = ()
    complete: bool = False

    @property
    def are_necessary(self) -> bool:
        """With others in their places the training always heals."""
        return self.replaced.all_heal

    @property
    def suffice(self) -> int | None:
        """The smallest number of culprit records that always break it; None where not even all of them do.

        With fewer than all of them, other ones were tried in each arm.
        """
        enough = [tried.size for tried in self.subsets if tried.seen.all_break]
        if self.placebo is None or self.placebo.all_break:
            enough.append(self.count)
        return min(enough, default=None)


def test_set(bench: Bench, culprits: tuple[Spot, ...]) -> Procedure[SetTests]:
    """Test the records at `culprits` as a set, with arms of full length, as far as the budget goes.

    Raises:
        OutOfBudget: it does not suffice for the first trials.
    """
    sets = _Sets(bench, culprits)
    trials = [sets.healing(), *sets.placebo()]
    first, *placebo = yield from observe(bench.case, STAGE, trials)
    others = placebo[0] if placebo else None
    tests = SetTests(len(culprits), first, others)
    with suppress(OutOfBudget):
        if first.heals:
            for trial in sets.elsewhere():
                tests = replace(tests, elsewhere=(yield from observe(bench.case, STAGE, [trial]))[0])
            size = len(culprits)
            while size > 1 and (not tests.subsets or tests.subsets[-1].seen.all_break):
                size = (size + 1) // 2
                trial = sets.subset(size)
                found = yield from measure(STAGE, (trial,))  # those that are not clear are not broken
                tests = replace(tests, subsets=(*tests.subsets, Subsets(size, seen(bench.case, trial, found))))
        return replace(tests, complete=True)
    return tests


@dataclass(frozen=True)
class _Sets:
    """The arms that test a set of culprit records."""

    bench: Bench
    culprits: tuple[Spot, ...]

    @property
    def _case(self) -> Case:
        return self.bench.case

    @property
    def _batches(self) -> tuple[int, ...]:
        """The batches that have them."""
        return tuple(sorted({spot.place.iteration for spot in self.culprits}))

    @property
    def _start(self) -> int:
        return self._batches[0]

    @property
    def _until(self) -> int:
        return max(self._case.until, self._batches[-1] + self._case.after)

    def healing(self) -> Trial:
        """Ordinary records in the places of all culprits."""
        runs = _HEALING if self._until - self._start < _LONG else _HEALING_LONG
        arms = tuple(self._arm(self._ordinary(self.culprits, number)) for number in range(runs))
        return Trial(f"{self._named(len(self.culprits))} replaced", "record", arms)

    def placebo(self) -> Iterator[Trial]:
        """Ordinary records in the places of all other records."""
        others = [s for t in self._batches for s in self.bench.spots(t) if s not in self.culprits]
        if others:
            arms = tuple(self._arm(self._ordinary(others, number)) for number in range(_PLACEBOS))
            which = "other record" if len(others) == 1 else f"{len(others)} other records"
            yield Trial(f"the {which} replaced", "placebo", arms)

    def elsewhere(self) -> Iterator[Trial]:
        """The culprits in other batches, and ordinary records in their own places."""
        arms = tuple(self._moved(by, turn) for turn, by in enumerate(self._distances(), 1))
        if arms:
            yield Trial(f"{self._named(len(self.culprits))} in other batches", "record", arms)

    def subset(self, size: int) -> Trial:
        """Only `size` of the culprits: other ones in each arm."""
        count = len(self.culprits)
        starts = dict.fromkeys((0, count - size, (count - size) // 2))
        chosen = [self.culprits[start : start + size] for start in starts]
        arms = tuple(
            self._arm(self._ordinary([spot for spot in self.culprits if spot not in kept], number))
            for number, kept in enumerate(chosen[:_SUBSETS])
        )
        return Trial(f"only {size} of {self._named(count)}", "record", arms)

    def _distances(self) -> list[int]:
        """By how many iterations the culprits are moved: to batches before their own, and later, at the same rate."""
        first, last = self._batches[0], self._batches[-1]
        earlier = [-d for d in _EARLIER if d > last - first and first - d >= self._case.first]
        later = [d for d in _LATER if d > last - first]
        rate = self._case.rate_at(first)
        alike = [d for d in (*earlier, *later) if abs(self._case.rate_at(first + d) - rate) <= _RATE * rate]
        before = [d for d in alike if d < 0][:_EARLIER_ONES]
        return (before + [d for d in alike if d > 0])[:_ELSEWHERE]

    def _moved(self, by: int, turn: int) -> Arm:
        """Return an arm with the culprits `by` iterations later, at positions moved by `turn`."""
        moved = {spot.moved(by, turn): spot.place for spot in self.culprits}
        return self._arm(self._ordinary(self.culprits, turn) | moved, by)

    def _arm(self, sources: Sources, by: int = 0) -> Arm:
        start, until = min(self._start, self._batches[0] + by), self._until + by
        read = {spot: source for spot, source in sources.items() if spot.place.iteration < until}
        return Arm(start, until - start, (replaced(read),))

    def _ordinary(self, spots: Sequence[Spot], number: int) -> dict[Spot, Place]:
        """Return stand-ins for records: from one iteration for those of one batch."""
        found: dict[Spot, Place] = {}
        for index, batch in enumerate(self._batches):
            here = [spot for spot in spots if spot.place.iteration == batch]
            found |= self.bench.stand_ins(number * len(self._batches) + index, here)
        return found

    def _named(self, count: int) -> str:
        batches = " and ".join(f"{t:,}" for t in self._batches)
        return f"the {count} culprit records of {batches}" if count > 1 else f"the culprit record of {batches}"
