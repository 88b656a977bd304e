"""Series that grow: the newest values as they are, old ones thinned out evenly, so that a run of any length fits."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import islice

import numpy as np

from harness.caffe_log.model import Series

KEPT = 1 << 17  # values that are kept exactly


class Trace:
    """One growing series. What it keeps depends on how many values it was given, not on how they came."""

    __slots__ = ("_kept", "_moved", "_old", "_seen", "_stride", "iterations", "values")

    def __init__(self, kept: int = KEPT) -> None:
        self.iterations = array("q")
        self.values = array("d")
        self._old = (array("q"), array("d"))
        self._kept = kept
        self._stride = 1  # every so many of the old ones are still here
        self._seen = 0  # and so many there were

    def __len__(self) -> int:
        return len(self._old[0]) + len(self.values)

    @property
    def thinned(self) -> bool:
        return self._stride > 1

    @property
    def last(self) -> int:
        """Iteration of the newest value, -1 where there is none."""
        return self.iterations[-1] if self.iterations else -1

    def append(self, iteration: int, value: float) -> None:
        self.iterations.append(iteration)
        self.values.append(value)
        if len(self.values) >= self._kept:
            self._thin()

    def extend(self, iterations: list[int], values: Iterable[float]) -> None:
        """Like append, one by one."""
        begin, rest = 0, iter(values)
        while begin < len(iterations):
            end = begin + self._kept - len(self.values)
            self.iterations.extend(iterations[begin:end])
            self.values.extend(islice(rest, end - begin))
            begin = end
            if len(self.values) >= self._kept:
                self._thin()

    def forget(self, iteration: int) -> int:
        """Drop the newest value if it is of `iteration`; how many were dropped."""
        if self.last != iteration:
            return 0
        self.iterations.pop()
        self.values.pop()
        return 1

    def _thin(self) -> None:
        moved = self._kept // 2
        first = -self._seen % self._stride
        self._old[0].extend(self.iterations[first : moved : self._stride])
        self._old[1].extend(self.values[first : moved : self._stride])
        del self.iterations[:moved], self.values[:moved]
        self._seen += moved
        while len(self._old[0]) > moved:
            self._stride *= 2
            del self._old[0][1::2], self._old[1][1::2]

    def series(self) -> Series:
        return Series(
            np.array(self._old[0] + self.iterations, np.int64), np.array(self._old[1] + self.values, np.float64)
        )
