"""The records that a stretch of a training reads, layer by layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from harness.caffe_files.messages import pb
from harness.caffe_files.transformer_rng import mt19937
from harness.caffe_files.window_file import WindowFile
from harness.prefetch.epochs import Epochs
from harness.prefetch.libc_random import LibcRandom
from harness.prefetch.row_order import RowReader
from harness.prefetch.windows import WindowChoice
from harness.schemas.data_position import RowsPosition, StreamPosition, TrainingPosition

Numbers = npt.NDArray[np.int32]


def pass_counts(passes: Iterable[tuple[int, int]]) -> Counter[int]:
    """Count the batches that each net takes in `passes` (see caffe_files.passes.schedule)."""
    count: Counter[int] = Counter()
    for net, number in passes:
        count[net] += number
    return count


def with_reached_gap(place: StreamPosition, passes: int) -> StreamPosition:
    """Return `place` without a gap (`--skip`) that the layer does not reach before the last of `passes` batches."""
    return place if place.skip and passes > place.skip_at else replace(place, skip_at=0, skip=0)


def lines_read(place: StreamPosition, passes: int, count: int) -> Numbers:
    """Return the records that a Data or ImageData layer at `place` passes over in `passes`, in their order.

    These are their numbers in a source of `count` records, (n,), with those of a gap that it reaches
    (`with_reached_gap`).
    """
    epochs = Epochs(count, place.list_seed if place.shuffle else None, place.excluded)
    images = (passes + place.skip) * place.batch_size
    return epochs.lines(np.arange(place.position, place.position + images))


def windows_read(place: StreamPosition, passes: int, found: WindowFile, layer: pb.LayerParameter) -> set[int]:
    """Return the numbers of the windows that a WindowData layer at `place` cuts out in `passes`."""
    parts = [(place.draws, passes)]
    if place.skip:
        parts = [(place.draws, place.skip_at), (place.after(place.skip_at).draws, passes - place.skip_at)]
    choice = WindowChoice.of(found, layer.window_data_param, place.batch_size)
    numbers: set[int] = set()
    for drawn, batches in parts:
        random = mt19937(place.seed or 0, drawn)
        for _ in range(batches):
            numbers.update(choice.windows(random.random_raw((place.batch_size, place.image_draws))))
    return numbers


def rows_read(
    point: TrainingPosition, passes: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], list[tuple[int, Numbers]]]:
    """Return the rows that each HDF5Data layer reads in `passes`: by net and index, (file, rows) in their order.

    Layers with `shuffle` draw from one generator, each in its turn, also those of test nets.
    """
    random = LibcRandom(point.rand)
    layers = [_RowLayer(place, random) for place in point.rows]
    for net, number in passes:
        here = [layer for layer in layers if layer.place.net == net]
        for _ in range(number if here else 0):
            for layer in here:
                layer.take_batch()
    return {(layer.place.net, layer.place.index): layer.read for layer in layers}


class _RowLayer:
    """An HDF5Data layer that reads batch after batch; `read` are the rows so far, without those of a gap."""

    def __init__(self, place: RowsPosition, random: LibcRandom) -> None:
        self.place = place
        self.read: list[tuple[int, Numbers]] = []
        self._reader = RowReader(
            place.counts, random if place.shuffle else None, place.order, place.records, place.excluded
        )
        self._until_gap, self._gap = place.skip_at, place.skip * place.batch_size  # batches, rows
        self._pass_gap()

    def take_batch(self) -> None:
        self.read += self._reader.read(self.place.batch_size)
        self._until_gap -= 1
        self._pass_gap()

    def _pass_gap(self) -> None:
        if self._gap and self._until_gap <= 0:
            self._reader.skip(self._gap)
            self._gap = 0


def joined(parts: Sequence[tuple[int, Numbers]]) -> tuple[Numbers, Numbers]:
    """Join what `rows_read` has of a layer: the file of each row, and its number there, (n,) each."""
    files = [np.full(len(rows), file, np.int32) for file, rows in parts]
    return np.concatenate(files), np.concatenate([rows for _, rows in parts])
