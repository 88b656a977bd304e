"""Position of a training in its data and random numbers, which Caffe's solverstate does not hold.

In a training that Caffe started, the iteration implies the position. In one that was resumed, or that skipped data, it
does not, so every snapshot states it in full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Words = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{4992}$")]  # 624 of 32 bits


@dataclass(frozen=True)
class StreamPosition:
    """Position of one Data or ImageData layer in its stream. `net` is 0 for the train net, k for test net k-1.

    `index` is the layer's number in the net, which has only the layers of its phase; names need not be unique. It is
    None in files from before 0.3.0.

    Before the next batch, `records` were read and `draws` outputs were taken from the transformer's generator. `seed`
    is the seed of that generator; None if it is not known yet or the layer draws nothing. After `skip_at` more passes,
    `skip` passes are left out.

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
        if self.image_draws:
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
    """Position of a training before `iteration`; `seed` is the solver's random_seed."""

    iteration: Count
    seed: Seed
    generator: GeneratorState
    places: tuple[StreamPosition, ...]

    def after(self, passes: Sequence[int]) -> tuple[StreamPosition, ...]:
        """Return the positions after `passes` more batches of the train net and of each test net."""
        return tuple(place.after(passes[place.net]) for place in self.places)


def numbered(places: Iterable[StreamPosition]) -> dict[tuple[int, str, int], StreamPosition]:
    """Key `places` by net, name of the layer, and number among the data layers of that name in that net.

    These keys stay when a layer is added to a net, and positions from before 0.3.0, which have no index, have them too.
    """
    count: Counter[tuple[int, str]] = Counter()
    found = {}
    for place in places:
        name = place.net, place.layer
        found[*name, count[name]] = place
        count[name] += 1
    return found
