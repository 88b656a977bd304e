"""Which checkpoints a replay worker keeps."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.worker.arms.checkpoints import Checkpoints


@dataclass
class Kept:
    iteration: int
    nbytes: int = 10
    removed: list[int] = field(default_factory=list)

    def remove(self) -> None:
        self.removed.append(self.iteration)


def test_the_first_one_and_those_used_last_are_kept() -> None:
    first, *others = (Kept(t) for t in (5, 9, 20, 30, 40))
    kept = Checkpoints(first, limit=30)
    for other in others[:3]:
        kept.add(other)
    assert kept.at(9) is others[0]
    kept.add(others[3])
    assert [kept.at(t) for t in (5, 9, 20, 30, 40)] == [first, others[0], None, others[2], others[3]]
    assert [other.removed for other in (first, *others)] == [[], [], [20], [], []]
    assert [kept.nearest(t).iteration for t in (5, 8, 9, 29, 35, 100)] == [5, 5, 9, 9, 30, 40]


def test_one_that_is_larger_than_the_limit_is_kept_until_the_next() -> None:
    kept, large = Checkpoints(Kept(0), limit=30), Kept(7, 100)
    kept.add(large)
    assert kept.at(7) is large
    kept.add(Kept(8, 100))
    assert kept.at(7) is None
    assert large.removed == [7]
