"""Where a training stands in its data and in its random numbers: what Caffe's solverstate leaves out.

A training that Caffe began by itself stands where its iteration says. One that was resumed, or whose data was skipped,
stands elsewhere; so every snapshot says it in full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Place:
    """One Data or ImageData layer in its stream. `net` is 0 for the train net, k for test net k-1.

    `records` were read and `draws` outputs were taken from its transformer's generator before the next batch; `seed` is
    that generator's, None where it is not known yet or the layer draws nothing. After `skip_at` passes more, `skip`
    passes are left out.

    Of an ImageData layer: `shuffle`, and `rand_skip`, as it has them; `list_seed` shuffles its list, and its first
    `skipped` lines were never read. Both are None as long as they are not known.
    """

    net: int
    layer: str
    source: str
    fingerprint: str
    batch_size: int
    image_draws: int  # outputs that one image takes
    records: int = 0
    draws: int = 0
    seed: int | None = None
    skip_at: int = 0
    skip: int = 0
    shuffle: bool = False
    rand_skip: int = 0
    list_seed: int | None = None
    skipped: int | None = None

    @property
    def position(self) -> int:
        """The next record, counted from the first of the source on, over all epochs."""
        return self.records + (self.skipped or 0)

    @property
    def known(self) -> bool:
        """Is everything known that the layer draws when it is set up?"""
        unknown = [
            self.image_draws > 0 and self.seed is None,
            self.shuffle and self.list_seed is None,
            self.rand_skip > 0 and self.skipped is None,
        ]
        return not any(unknown)

    def seeded(self, draw: Callable[[], int]) -> Place:
        """The place with what its layer draws when it is set up; `draw` gives the main generator's next output.

        The transformer is seeded twice (BaseDataLayer::LayerSetUp and BasePrefetchingDataLayer::LayerSetUp,
        base_data_layer.cpp); in between is ImageDataLayer::DataLayerSetUp. What was known before stays.
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

    def unseeded(self) -> Place:
        """The place in a training with other random numbers."""
        return replace(self, seed=None, list_seed=None, skipped=None)

    def after(self, passes: int) -> Place:
        """The place after so many batches more."""
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
class MainGenerator:
    """Caffe's main generator. `words` is its state (624 words in hex) before iteration `at`, and `position` in them.

    Without `words` it was seeded, and the nets were built, before iteration `at`.
    """

    at: int
    words: str | None = None
    position: int = 0


@dataclass(frozen=True)
class Point:
    """A training before iteration `iteration`: `seed` is the solver's random_seed."""

    iteration: int
    seed: int
    generator: MainGenerator
    places: tuple[Place, ...]

    def after(self, passes: Sequence[int]) -> tuple[Place, ...]:
        """The places after so many batches more of the train net and of each test net."""
        return tuple(place.after(passes[place.net]) for place in self.places)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Point:
        return cls(
            raw["iteration"],
            raw["seed"],
            MainGenerator(**raw["generator"]),
            tuple(Place(**place) for place in raw["places"]),
        )


def passes_between(solver: Any, first: int, last: int) -> tuple[int, ...]:
    """Batches that the train net and each test net take in the iterations `first` … `last`-1 (Solver::Step)."""
    tests = sum(tests_at(solver, t) for t in _multiples(solver.test_interval, first, last))
    return ((last - first) * solver.iter_size, *(tests * n for n in solver.test_iter))


def tests_at(solver: Any, iteration: int) -> bool:
    """Does Caffe test before iteration `iteration`?"""
    due = solver.test_interval > 0 and iteration % solver.test_interval == 0
    return bool(due and (iteration > 0 or solver.test_initialization))


def _multiples(interval: int, first: int, last: int) -> range:
    return range(-(-first // interval) * interval, last, interval) if interval > 0 else range(0)
