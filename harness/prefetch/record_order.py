"""The records that a data layer reads in each iteration of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.prefetch.epochs import Epochs
from harness.schemas.data_position import StreamPosition


@dataclass(frozen=True)
class ReadingPlan:
    """What the order of a data layer's records depends on: its `place` before iteration `first`, and `iter_size`."""

    place: StreamPosition
    first: int
    iter_size: int


class RecordOrder:
    """The numbers of the records that a data layer reads, iteration by iteration, from a source of `count` records."""

    def __init__(self, plan: ReadingPlan, count: int) -> None:
        self._plan = plan
        self._epochs = Epochs(count, plan.place.list_seed, plan.place.excluded)

    @property
    def size(self) -> int:
        """How many records an iteration reads."""
        return self._plan.place.batch_size * self._plan.iter_size

    def records(self, iteration: int) -> npt.NDArray[np.int32]:
        """Return the numbers of the records of `iteration`; it must not be smaller than in the call before."""
        plan = self._plan
        first = (iteration - plan.first) * plan.iter_size
        starts = [plan.place.after(first + number).position for number in range(plan.iter_size)]
        batch = np.arange(plan.place.batch_size)
        return self._epochs.lines(np.concatenate([start + batch for start in starts]))
