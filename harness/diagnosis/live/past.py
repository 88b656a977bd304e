"""The past of a run in bounded memory: what it takes to find its onset, however long it goes on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.diagnosis.live.rows import Rows
from harness.diagnosis.recorded.onset import block_width
from harness.diagnosis.robust_stats import total_norm

CAPACITY = 1 << 17  # iterations
_HEAD = 400  # iterations from the beginning that stay: a run may have been damaged from the start
_AROUND = 40  # blocks before and after an onset that stay

_ROW = np.dtype([("iteration", "<i8"), ("loss", "<f8"), ("gradient_l2", "<f8"), ("nonfinite", "<f8")])


@dataclass(frozen=True)
class PastRows:
    """(n,) iterations of a run in ascending order, as `find_onset` takes them."""

    iteration: npt.NDArray[np.int64]
    loss: npt.NDArray[np.float64]
    gradient_l2: npt.NDArray[np.float64]
    nonfinite: npt.NDArray[np.float64]


class Past:
    """The iterations of a run so far: loss, norm of the gradient, and elements of it that are not finite.

    At most `capacity` of them are kept. When that is reached, every second block of older iterations is dropped, but
    for the first ones and those around an onset: blocks are the units of which `find_onset` takes the level, so the
    others keep their levels.

    Args:
        span: iterations over which a level is taken.
        capacity: iterations; their memory is allocated at once.

    Attributes:
        last: the last iteration; None if there is none.
    """

    def __init__(self, span: int, capacity: int = CAPACITY) -> None:
        self._block = block_width(capacity, span)
        self._rows = np.zeros(capacity, _ROW)
        self._rows.fill(0)  # now, not one page after another as the run goes on
        self._count = 0
        self.last: int | None = None

    def extend(self, rows: Rows) -> None:
        """Append iterations; there must be `room` for them."""
        if not len(rows):
            return
        new = self._rows[self._count : self._count + len(rows)]
        new["iteration"], new["loss"] = rows.iteration, rows.loss
        new["gradient_l2"] = total_norm(rows.gradient_l2)
        new["nonfinite"] = rows.gradient_nonfinite.sum(axis=1)
        self._count += len(rows)
        self.last = int(rows.iteration[-1])

    def room(self, count: int) -> bool:
        """Check whether there is room for `count` more iterations."""
        return self._count + count <= len(self._rows)

    @property
    def rows(self) -> PastRows:
        """All that is kept. The next call of `extend` or `thin` may change it."""
        kept = self._rows[: self._count]
        return PastRows(kept["iteration"], kept["loss"], kept["gradient_l2"], kept["nonfinite"])

    def thin(self, onset: int | None) -> None:
        """Drop every second block of the older three quarters; `onset` is the onset's iteration, if there is one."""
        kept = self._rows[: self._count]
        block = np.arange(self._count) // self._block
        first = -(-_HEAD // self._block)
        old = (block >= first) & (block < 3 * self._count // 4 // self._block)
        if onset is not None:
            at = int(np.searchsorted(kept["iteration"], onset)) // self._block
            old &= abs(block - at) > _AROUND
        rest = kept[~old | (block % 2 == 0)]
        self._rows[: len(rest)] = rest
        self._count = len(rest)
