"""Move the position of a training on by iterations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.caffe_files.messages import pb
from harness.caffe_files.passes import schedule
from harness.prefetch.libc_random import LibcRandom
from harness.prefetch.row_order import RowReader
from harness.schemas.data_position import RowsPosition, TrainingPosition


class PositionTracker:
    """The position of a training that starts at `start` and is stepped by `solver`."""

    def __init__(self, start: TrainingPosition, solver: pb.SolverParameter) -> None:
        self._position, self._solver = start, solver

    def before(self, iteration: int) -> TrainingPosition:
        """Return the position before `iteration`, which is not before the last one asked for.

        Its `generator` is that of the start.
        """
        passes = schedule(self._solver, self._position.iteration, iteration)
        self._position = replace(moved(self._position, passes), iteration=iteration)
        return self._position


def moved(position: TrainingPosition, passes: Iterable[tuple[int, int]]) -> TrainingPosition:
    """Return `position` after `passes` (see `schedule`), apart from its iteration and its generator."""
    passes = list(passes)
    count: Counter[int] = Counter()
    for net, number in passes:
        count[net] += number
    places = tuple(place.after(count[place.net]) for place in position.places)
    if not any(rows.shuffle for rows in position.rows):
        return replace(position, places=places, rows=tuple(rows.after(count[rows.net]) for rows in position.rows))
    random = LibcRandom(position.rand)
    rows = [_Moving(place, random) for place in position.rows]
    _move([each for each in rows if each.place.shuffle], passes, count)
    for each in rows:
        if not each.place.shuffle:
            each.move(count[each.place.net])
    return replace(position, places=places, rows=tuple(each.position for each in rows), rand=random.state)


def with_orders(position: TrainingPosition) -> TrainingPosition:
    """Return `position` with the first order of each HDF5Data layer that has still to draw one."""
    return moved(position, ())


class _Moving:
    """An HDF5Data layer on its way."""

    def __init__(self, place: RowsPosition, random: LibcRandom) -> None:
        self.place = place
        self._reader = RowReader(place.counts, random, place.order, 0, place.excluded) if place.shuffle else None

    @property
    def position(self) -> RowsPosition:
        return replace(self.place, order=self._reader.order) if self._reader else self.place

    @property
    def passes_without_draw(self) -> int:
        """The number of passes that end before the last row of the file that is being read."""
        assert self._reader is not None
        return 0 if self.place.skip else (self._reader.rows_left - 1) // self.place.batch_size

    def move(self, passes: int) -> None:
        after = self.place.after(passes)
        if self._reader is not None:
            self._reader.skip(after.records - self.place.records)
        self.place = after


def _move(layers: Sequence[_Moving], passes: Iterable[tuple[int, int]], count: Counter[int]) -> None:
    """Move layers that draw from one generator, each in its turn."""
    if len(layers) == 1:
        layers[0].move(count[layers[0].place.net])
        return
    for net, number in passes:
        here = [layer for layer in layers if layer.place.net == net]
        while here and number:
            step = min(number, max(1, min(layer.passes_without_draw for layer in here)))
            for layer in here:
                layer.move(step)
            number -= step
