"""The checkpoints that a replay worker keeps, as far as they have room."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

LIMIT = 1 << 30  # bytes in memory, and as many in files


class Kept(Protocol):
    """A checkpoint, as far as it matters here: before which iteration, its bytes in memory, and how its files go."""

    @property
    def iteration(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    def remove(self) -> None: ...


K = TypeVar("K", bound=Kept)


class Checkpoints(Generic[K]):
    """The first checkpoint, and of the others those that were used last: an unchanged replay can make each again."""

    def __init__(self, first: K, limit: int = LIMIT) -> None:
        self.first = first
        self._limit = limit
        self._others: dict[int, K] = {}  # the one that was used last is the last one

    def at(self, iteration: int) -> K | None:
        """Return the checkpoint before `iteration`, if there is one."""
        if iteration == self.first.iteration:
            return self.first
        found = self._others.pop(iteration, None)
        if found is not None:
            self._others[iteration] = found
        return found

    def nearest(self, iteration: int) -> K:
        """Return the last checkpoint before `iteration` or earlier."""
        return max(
            (self.first, *(kept for kept in self._others.values() if kept.iteration <= iteration)), key=_iteration
        )

    def add(self, checkpoint: K) -> None:
        """Keep a checkpoint, in place of others if there is no room."""
        self._others[checkpoint.iteration] = checkpoint
        while len(self._others) > 1 and sum(kept.nbytes for kept in self._others.values()) > self._limit:
            self._others.pop(next(iter(self._others))).remove()


def _iteration(kept: Kept) -> int:
    return kept.iteration
