"""Series that grow in bounded memory: the newest values are exact, older ones are thinned out evenly."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from harness.caffe_log.model import Series

KEPT = 1 << 17  # newest values that are kept exactly


class GrowingSeries:
    """One growing series. What it keeps depends only on the number of values, not on how they were added."""

    __slots__ = ("_aged", "_kept", "_old", "_stride", "iterations", "values")

    def __init__(self, kept: int = KEPT) -> None:
        self.iterations = array("q")
        self.values = array("d")
        self._old = (array("q"), array("d"))
        self._kept = kept
        self._stride = 1  # every so many of the older values are still here
        self._aged = 0  # values that have become old, thinned out or not

    def __len__(self) -> int:
        return len(self._old[0]) + len(self.values)

    @property
    def thinned(self) -> bool:
        return self._stride > 1

    @property
    def last(self) -> int:
        """Iteration of the newest value, -1 if there is none."""
        return self.iterations[-1] if self.iterations else -1

    def append(self, iteration: int, value: float) -> None:
        self.iterations.append(iteration)
        self.values.append(value)
        if len(self.values) >= self._kept:
            self._thin()

    def extend(self, iterations: Sequence[int], values: Iterable[float]) -> None:
        """Append values, with the same result as one by one."""
        begin, rest = 0, iter(values)
        while begin < len(iterations):
            end = begin + self._kept - len(self.values)
            self.iterations.extend(iterations[begin:end])
            self.values.extend(islice(rest, end - begin))
            begin = end
            if len(self.values) >= self._kept:
                self._thin()

    def drop_last(self, iteration: int) -> int:
        """Drop the newest value if it is of `iteration`; return the number of values dropped."""
        if self.last != iteration:
            return 0
        self.iterations.pop()
        self.values.pop()
        return 1

    def move_last(self, iteration: int, to: int) -> None:
        """Move the newest value, if it is of `iteration`, to the iteration `to` before it."""
        if self.last == iteration and (len(self.iterations) < 2 or self.iterations[-2] < to):
            self.iterations[-1] = to

    def _thin(self) -> None:
        moved = self._kept // 2
        first = -self._aged % self._stride
        self._old[0].extend(self.iterations[first : moved : self._stride])
        self._old[1].extend(self.values[first : moved : self._stride])
        del self.iterations[:moved], self.values[:moved]
        self._aged += moved
        while len(self._old[0]) > moved:
            self._stride *= 2
            del self._old[0][1::2], self._old[1][1::2]

    def series(self) -> Series:
        return Series(
            np.array(self._old[0] + self.iterations, np.int64), np.array(self._old[1] + self.values, np.float64)
        )
