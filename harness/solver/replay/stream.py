"""Where the stream of a `Data` layer stands: the next record, and the state of its transformer's generator."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_PIECE = 1 << 22  # outputs skipped at once: 15 ms, between which a signal is seen


@dataclass(frozen=True)
class Jump:
    """Where a stream goes on after so many batches: at the record of `key` (hex), with the outputs after `draws`."""

    after: int
    key: str
    draws: int


@dataclass(frozen=True)
class Stream:
    """A `Data` layer's stream, from the image that the layer is to read next.

    `source` is the LMDB directory as `data_param.source` has it (a relative one counts from the current directory),
    `first_key` the hex of the key of the next record. `transform` is the text of the layer's TransformationParameter;
    it is applied as in `phase`, "TRAIN" or "TEST". `seed` seeds the transformer's mt19937, from which `draws` 32-bit
    outputs were drawn; it is None where the layer draws nothing. `labels`: the layer has a second top. `prefetch` is
    the number of batches kept ready. With a `jump` some records are left out on the way.
    """

    layer: str
    source: str
    first_key: str
    batch_size: int
    phase: str
    transform: str
    seed: int | None
    draws: int
    labels: bool
    prefetch: int
    jump: Jump | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Stream:
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Stream:
        return cls(**raw | {"jump": Jump(**raw["jump"]) if raw["jump"] else None})


def draws_per_image(transform: Any, phase: str) -> int:
    """How many outputs of the generator one image takes (data_transformer.cpp: Transform, InitRand).

    One for `mirror`, in both phases; two for the place of a crop, which in phase TEST is the middle.
    """
    return int(transform.mirror) + 2 * int(transform.crop_size > 0 and phase == "TRAIN")


def generator(seed: int, draws: int) -> np.random.MT19937:
    """Caffe's generator, seeded with `seed` (32 bits), after `draws` outputs; `random_raw` gives the next ones.

    boost's mt19937 is seeded as numpy's was of old.
    """
    made = np.random.MT19937()
    made._legacy_seeding(seed)
    while draws > 0:
        made.random_raw(min(draws, _PIECE), output=False)
        draws -= _PIECE
    return made
