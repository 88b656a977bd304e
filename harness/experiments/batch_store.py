"""A batch store: the batches that arms read, in a file that replay workers map into their memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from harness.caffe_files.edits import set_fields
from harness.caffe_files.messages import pb
from harness.errors import BadInput, RecordingFailed
from harness.schemas.arm import Arm, Place, RecordsReplaced, Replacement, SolverField, StreamShifted
from harness.schemas.feed import Feed, LayerFeed, StoredBatch, StoredRecord
from harness.training_data.batches import LayerBatches, Tops

LIMIT = 8 << 30  # bytes


class BatchStore:
    """The batches of `layers`, the data layers of a train net, in the open file `fd`.

    Each is read and stored once, when an arm first needs it.

    Args:
        solver: of the run.
        directory: on the file's disk, for messages.
        limit: bytes that it may have.

    Attributes:
        fd: that file.
        size: its bytes.
    """

    def __init__(
        self, layers: Sequence[LayerBatches], solver: pb.SolverParameter, directory: Path, fd: int, limit: int = LIMIT
    ) -> None:
        self._layers, self._solver, self._limit = layers, solver, limit
        self._directory, self.fd = directory, fd
        self.size = 0
        self._batches: dict[tuple[int, int], list[StoredBatch]] = {}  # by layer and iteration: its passes
        self._records: dict[tuple[int, Place, Place], int] = {}  # by layer, source and place

    @property
    def layers(self) -> tuple[int, ...]:
        """The numbers of the layers in the train net."""
        return tuple(layer.index for layer in self._layers)

    def feed(self, arm: Arm) -> Feed:
        """Store what `arm` reads, as far as it is not there already, and return what its data layers are to give.

        Raises:
            BadInput: an iteration or a place that the arm names is not one of its own; the limit is reached.
            RecordsUnknown: the batches cannot be told for certain, or cannot be read.
            RecordingFailed: the disk is full.
        """
        order = list(_order(arm, self._solver))
        for layer in self._layers:
            self._store(layer, (batch.iteration for batch in order))
        feeds = [self._layer_feed(layer, order) for layer in self._layers]
        for change in arm.changes:
            if isinstance(change, RecordsReplaced):
                for replacement in change.replacements:
                    feeds = self._replaced(arm, order, feeds, replacement)
        return tuple(feeds)

    def lead(self, first: int, stop: int) -> Feed:
        """Return what the data layers give in the unchanged iterations `first` … `stop` - 1; errors as for `feed`."""
        return self.feed(Arm(first, stop - first)) if stop > first else ()

    def _layer_feed(self, layer: LayerBatches, order: Sequence[_Pass]) -> LayerFeed:
        stored = tuple(self._batches[layer.index, batch.iteration][batch.number] for batch in order)
        return LayerFeed(layer.index, stored)

    def _store(self, layer: LayerBatches, iterations: Iterable[int]) -> None:
        """Store the batches of `iterations`; those without a gap are read in one go."""
        missing = sorted({t for t in iterations if (layer.index, t) not in self._batches})
        for _, run in groupby(enumerate(missing), lambda numbered: numbered[1] - numbered[0]):
            found = [iteration for _, iteration in run]
            count, passes = len(found), self._solver.iter_size
            for number, tops in enumerate(layer.passes(found[0], count)):
                if number == 0:
                    self._check_room(layer, _bytes(tops) * count * passes)
                batch = StoredBatch(self._append(layer, tops), tuple(values.shape for values in tops))
                self._batches.setdefault((layer.index, found[number // passes]), []).append(batch)

    def _replaced(
        self, arm: Arm, order: Sequence[_Pass], feeds: Sequence[LayerFeed], replacement: Replacement
    ) -> list[LayerFeed]:
        """Return `feeds` with a record replaced."""
        names = {layer.name for layer in self._layers}
        if unknown := [name for name in replacement.layers if name not in names]:
            raise _bad_place(replacement, f"{unknown[0]} is no data layer whose batches can be read")
        changed = []
        for layer, feed in zip(self._layers, feeds, strict=True):
            if not replacement.layers or layer.name in replacement.layers:
                feed = self._with_record(arm, order, layer, feed, replacement)
            changed.append(feed)
        return changed

    def _with_record(
        self, arm: Arm, order: Sequence[_Pass], layer: LayerBatches, feed: LayerFeed, replacement: Replacement
    ) -> LayerFeed:
        place, source = replacement.place, replacement.source
        here = [number for number, batch in enumerate(order) if batch.of == place.iteration]
        if not here:
            raise _bad_place(replacement, f"the arm has the iterations {arm.start:,} to {arm.until - 1:,}")
        size = feed.batches[here[0]].shapes[0][0]
        number, position = divmod(place.position, size)
        if number >= len(here):
            raise _bad_place(replacement, f"layer {layer.name} reads {size * len(here)} records in an iteration")
        read = order[here[number]]  # the batch that takes this pass, whose crops and mirrors count
        there = Place(read.iteration, read.number * size + position)
        batch = feed.batches[here[number]]
        record = StoredRecord(position, self._record(layer, source, there, batch))
        kept = (other for other in batch.replaced if other.position != position)
        batches = list(feed.batches)
        batches[here[number]] = StoredBatch(batch.offset, batch.shapes, (*kept, record))
        return LayerFeed(feed.index, tuple(batches))

    def _record(self, layer: LayerBatches, source: Place, place: Place, batch: StoredBatch) -> int:
        """Store the record at `source` as it is given at `place`, in `batch`, and return its offset."""
        key = (layer.index, source, place)
        if key not in self._records:
            try:
                tops = layer.record(source, place)
            except IndexError:
                problem = f"layer {layer.name} reads fewer records in iteration {source.iteration:,}"
                raise BadInput(
                    problem, field="source", value=source.position, remedy="Count from 0, over all passes"
                ) from None
            if tuple(values.shape for values in tops) != tuple(shape[1:] for shape in batch.shapes):
                raise BadInput(
                    f"the record of layer {layer.name} that is to take its place has another size",
                    field="place",
                    value=f"{place.iteration}, {place.position}",
                    remedy="Take a record of the same size",
                )
            self._check_room(layer, _bytes(tops))
            self._records[key] = self._append(layer, tops)
        return self._records[key]

    def _check_room(self, layer: LayerBatches, size: int) -> None:
        if self.size + size > self._limit:
            raise BadInput(
                f"the batches of layer {layer.name} take {_mib(size)} MiB more, and those of all arms may take "
                f"{_mib(self._limit)} ({_mib(self.size)} are taken)",
                remedy="Give arms that start later or have a shorter horizon",
            )

    def _append(self, layer: LayerBatches, tops: Tops) -> int:
        """Append the tops of a batch, or of a record, and return where they begin."""
        offset = self.size
        try:
            for values in tops:
                content = memoryview(values.astype(np.float32, copy=False).tobytes())
                while content:
                    written = os.pwrite(self.fd, content, self.size)
                    self.size += written
                    content = content[written:]
        except OSError as error:
            self.size = offset
            raise RecordingFailed(
                f"{self._directory}: the batches of layer {layer.name} cannot be stored ({error.strerror}); "
                f"{_mib(offset)} MiB are stored already. Free some space on that disk"
            ) from None
        return offset


@dataclass(frozen=True)
class _Pass:
    """A pass of iteration `of` of an arm: it reads what the run read in pass `number` of `iteration`."""

    of: int
    iteration: int
    number: int


def _order(arm: Arm, solver: pb.SolverParameter) -> Iterator[_Pass]:
    """Yield the passes of an arm. With another iter_size, it reads on in the stream as that has it."""
    settings = [f"{change.field}={change.value}" for change in arm.changes if isinstance(change, SolverField)]
    passes, before = set_fields(solver, settings)[0].iter_size, solver.iter_size
    shifts = [change for change in arm.changes if isinstance(change, StreamShifted)]
    for iteration in range(arm.start, arm.until):
        read = iteration
        for shift in shifts:
            if shift.first <= iteration < (arm.until if shift.stop is None else shift.stop):
                read = shift.source + iteration - shift.first
        for number in range(passes):
            ahead, there = divmod((read - arm.start) * passes + number, before)
            yield _Pass(iteration, arm.start + ahead, there)


def _bytes(tops: Tops) -> int:
    return sum(values.nbytes for values in tops)


def _bad_place(replacement: Replacement, problem: str) -> BadInput:
    place = replacement.place
    return BadInput(
        problem, field="place", value=f"{place.iteration}, {place.position}", remedy="Give a place of this arm"
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f}"
