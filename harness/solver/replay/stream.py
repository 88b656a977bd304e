"""What one Data layer will read: which records, transformed how, with which random numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_PIECE = 1 << 28  # outputs skipped in one call, which cannot be interrupted


@dataclass(frozen=True)
class Leg:
    """A stretch of a stream: it begins at the record with this key (in hex), after `draws` outputs of the generator.

    It is `batches` long; None: for ever.
    """

    key: str
    draws: int
    batches: int | None = None


@dataclass(frozen=True)
class Stream:
    """What a Data layer (data_layer.cpp) reads from some batch on.

    `transform` is the text of its TransformationParameter; `seed` that of its transformer's generator, None where it
    draws nothing. A layer with `labels` has a second top. `prefetch` batches are made ahead.
    """

    layer: str
    source: str
    batch_size: int
    phase: str
    transform: str
    seed: int | None
    legs: tuple[Leg, ...]
    labels: bool
    prefetch: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Stream:
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Stream:
        return cls(**raw | {"legs": tuple(Leg(**leg) for leg in raw["legs"])})


def draws_per_image(transform: Any, phase: str) -> int:
    """Outputs that DataTransformer::Transform draws for one image (data_transformer.cpp).

    One for `mirror`, in either phase, and two for the place of a crop in TRAIN.
    """
    return int(transform.mirror) + 2 * int(bool(transform.crop_size) and phase == "TRAIN")


def generator(seed: int, draws: int) -> np.random.MT19937:
    """Caffe's boost::mt19937 with this seed after so many outputs; some 400 million outputs a second are skipped."""
    numbers = np.random.MT19937()
    numbers._legacy_seeding(seed)
    for done in range(0, draws, _PIECE):
        numbers.random_raw(min(_PIECE, draws - done), output=False)
    return numbers
