"""Position of a training in its data and random numbers, which Caffe's solverstate does not hold.

In a training that Caffe started, the iteration implies the position. In one that was resumed, or that skipped data, it
does not, so every snapshot states it in full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
RandState = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{248}(0[0-9a-f]|1[0-9a-e])000000$")]
Words = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{4992}$")]  # 624 of 32 bits


@dataclass(frozen=True)
class StreamPosition:
    """Position of one Data, ImageData or WindowData layer in its stream.

    `net` is 0 for the train net, k for test net k-1. `index` is the layer's number in the net, which has only the
    layers of its phase; names need not be unique. It is None in files from before 0.3.0.

    Before the next batch, `records` were read and `draws` outputs were taken from the transformer's generator. `seed`
    is the seed of that generator; None if it is not known yet or the layer draws nothing. After `skip_at` more passes,
    `skip` passes are left out.

    A WindowData layer without a random transformer (phase TEST, no mirror) has `draws_its_seed_first`: nothing is drawn
    before its seed.

    The records that are `excluded`, by their numbers in the source, are left out of the stream, and do not count among
    `records`.

    An ImageData layer also has `shuffle` and `rand_skip` as in its parameters; `list_seed` is the seed that shuffles
    its list, and `skipped` the number of lines at the start that were never read. Both are None until they are known.
    """

    net: Count
    layer: str
    source: str
    fingerprint: str
    batch_size: Count
    image_draws: Count  # outputs that one image takes
    records: Count = 0
    draws: Count = 0
    seed: Seed | None = None
    skip_at: Count = 0
    skip: Count = 0
    shuffle: bool = False
    rand_skip: Count = 0
    list_seed: Seed | None = None
    skipped: Count | None = None
    index: Count | None = None
    draws_its_seed_first: bool = False
    excluded: tuple[Count, ...] = ()

    @property
    def position(self) -> int:
        """The next record, counted from the first of the source on, over all epochs."""
        return self.records + (self.skipped or 0)

    @property
    def known(self) -> bool:
        """All numbers that the layer draws when it is set up are known."""
        unknown = [
            self.image_draws > 0 and self.seed is None,
            self.shuffle and self.list_seed is None,
            self.rand_skip > 0 and self.skipped is None,
        ]
        return not any(unknown)

    def seeded(self, draw: Callable[[], int]) -> StreamPosition:
        """Return the position with what its layer draws at set-up; `draw` gives the main generator's next output.

        The transformer is seeded twice (BaseDataLayer::LayerSetUp and BasePrefetchingDataLayer::LayerSetUp,
        base_data_layer.cpp); ImageDataLayer::DataLayerSetUp runs in between. Values that are known already stay.
        """
        if self.image_draws and not self.draws_its_seed_first:
            draw()
        list_seed = draw() if self.shuffle else None
        skipped = draw() % self.rand_skip if self.rand_skip else None
        seed = draw() if self.image_draws else None
        return replace(
            self,
            list_seed=list_seed if self.list_seed is None else self.list_seed,
            skipped=skipped if self.skipped is None else self.skipped,
            seed=seed if self.seed is None else self.seed,
        )

    def unseeded(self) -> StreamPosition:
        """Return the position in a training with other random numbers."""
        return replace(self, seed=None, list_seed=None, skipped=None)

    def continues(self, before: StreamPosition) -> bool:
        """Check whether the layer reads the records that it read `before`."""
        return self.fingerprint == before.fingerprint

    def moved_to(self, before: StreamPosition) -> StreamPosition:
        """Return the position of this layer where it stood `before`."""
        return replace(
            self,
            records=before.records,
            draws=before.draws,
            seed=before.seed if self.image_draws else None,
            skip_at=before.skip_at,
            skip=before.skip,
            list_seed=before.list_seed if self.shuffle else None,
            skipped=before.skipped if self.rand_skip else None,
            excluded=before.excluded,
        )

    def after(self, passes: int) -> StreamPosition:
        """Return the position after `passes` more batches."""
        jumped = self.skip > 0 and passes >= self.skip_at
        images = (passes + (self.skip if jumped else 0)) * self.batch_size
        return replace(
            self,
            records=self.records + images,
            draws=self.draws + images * self.image_draws,
            skip_at=0 if jumped else max(0, self.skip_at - passes),
            skip=0 if jumped else self.skip,
        )

    @property
    def batches_before(self) -> int:
        """How many batches come before this position in the stream."""
        images = self.records if not self.image_draws else min(self.records, self.draws // self.image_draws)
        return images // self.batch_size

    def before(self, passes: int) -> StreamPosition:
        """Return the position `passes` batches earlier in the stream, at most `batches_before`."""
        images = passes * self.batch_size
        return replace(
            self,
            records=self.records - images,
            draws=self.draws - images * self.image_draws,
            skip_at=self.skip_at + passes,
        )


@dataclass(frozen=True)
class RowOrder:
    """The shuffled order in which an HDF5Data layer reads, and the row that is next.

    `files` is the order of the files of its list, `file` the number in it of the one that is being read, `rows` the
    order of the rows of that file (int32, little endian), and `row` the number of the next one in it.
    """

    files: tuple[Count, ...]
    file: Count
    rows: bytes
    row: Count


@dataclass(frozen=True)
class RowsPosition:
    """Position of one HDF5Data layer; `net`, `layer` and `index` as in a StreamPosition.

    `counts` are the numbers of rows of its files. Before the next batch, `records` rows were read. A layer with
    `shuffle` has an `order`; without one it stands where Caffe sets it up, and has still to draw its first order. After
    `skip_at` more passes, `skip` passes are left out. The rows that are `excluded`, as (file, row), are left out of the
    stream, and do not count among `records`.
    """

    net: Count
    index: Count
    layer: str
    source: str
    fingerprint: str
    batch_size: Count
    counts: tuple[Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)], ...]
    shuffle: bool
    records: Count = 0
    order: RowOrder | None = None
    skip_at: Count = 0
    skip: Count = 0
    excluded: tuple[tuple[Count, Count], ...] = ()

    def __post_init__(self) -> None:
        order = self.order
        if order is not None and not (
            sorted(order.files) == list(range(len(self.counts)))
            and order.file < len(order.files)
            and order.row < self.counts[order.files[order.file]]
            and len(order.rows) == 4 * self.counts[order.files[order.file]]
        ):
            raise ValueError(f"layer {self.layer}: not an order of its rows")

    def continues(self, before: RowsPosition) -> bool:
        """Check whether the layer reads the rows that it read `before`."""
        return (self.fingerprint, self.counts, self.shuffle) == (before.fingerprint, before.counts, before.shuffle)

    def moved_to(self, before: RowsPosition) -> RowsPosition:
        """Return the position of this layer where it stood `before`."""
        return replace(
            self,
            records=before.records,
            order=before.order,
            skip_at=before.skip_at,
            skip=before.skip,
            excluded=before.excluded,
        )

    def after(self, passes: int) -> RowsPosition:
        """Return the position after `passes` more batches, with the order as it is."""
        jumped = self.skip > 0 and passes >= self.skip_at
        return replace(
            self,
            records=self.records + (passes + (self.skip if jumped else 0)) * self.batch_size,
            skip_at=0 if jumped else max(0, self.skip_at - passes),
            skip=0 if jumped else self.skip,
        )


@dataclass(frozen=True)
class GeneratorState:
    """State of Caffe's main generator before iteration `at`: `words` (624 words in hex) and the `position` in them.

    Without `words`, the generator was seeded and the nets were built before iteration `at`.
    """

    at: Count
    words: Words | None = None
    position: Annotated[int, msgspec.Meta(ge=0, le=624)] = 0


@dataclass(frozen=True)
class TrainingPosition:
    """Position of a training before `iteration`; `seed` is the solver's random_seed.

    `places` are those of the Data, ImageData and WindowData layers, `rows` those of the HDF5Data layers. Of the latter,
    those with `shuffle` all draw from the C library's rand(), whose state is `rand`: its 31 words and a position in
    them, in hex; None as it is at the start of a process.
    """

    iteration: Count
    seed: Seed
    generator: GeneratorState
    places: tuple[StreamPosition, ...]
    rows: tuple[RowsPosition, ...] = ()
    rand: RandState | None = None

    @property
    def inputs(self) -> tuple[StreamPosition | RowsPosition, ...]:
        """All positions."""
        return (*self.places, *self.rows)

    @property
    def of_train_net(self) -> tuple[StreamPosition | RowsPosition, ...]:
        """The positions of the train net's data layers."""
        return tuple(place for place in self.inputs if place.net == 0)


Place = TypeVar("Place", StreamPosition, RowsPosition)


def numbered(places: Iterable[Place]) -> dict[tuple[int, str, int], Place]:
    """Key `places` by net, name of the layer, and number among the data layers of that name in that net.

    These keys stay when a layer is added to a net, and positions from before 0.3.0, which have no index, have them too.
    """
    count: Counter[tuple[int, str]] = Counter()
    found = {}
    for place in places:
        found[place.net, place.layer, count[place.net, place.layer]] = place
        count[place.net, place.layer] += 1
    return found
