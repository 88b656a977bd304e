"""Where the stream of a data layer stands: the next record, and the state of its transformer's generator."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

_PIECE = 1 << 22  # outputs skipped at once: 15 ms, between which a signal is seen


@dataclass(frozen=True)
class Jump:
    """Where a stream goes on after so many batches: at the record `key`, with the outputs after `draws`.

    `key` says where as a Stream's `first_key`.
    """

    after: int
    key: str | int
    draws: int


@dataclass(frozen=True)
class Files:
    """What is special about an ImageData layer's stream: its source is a list of files, below `root` (a prefix).

    They are read in colour or in grey, and resized where `height` and `width` are not 0. The list is shuffled where
    `shuffled`, with `seed`, and its first `skipped` lines are left out: two numbers that the layer draws.
    """

    root: str
    colour: bool
    height: int
    width: int
    shuffled: bool
    seed: int | None = None
    skipped: int = 0


@dataclass(frozen=True)
class Stream:
    """A `Data` or (with `files`) `ImageData` layer's stream, from the image that the layer is to read next.

    `source` is the LMDB directory, or the list, as the layer's `source` has it (a relative one counts from the current
    directory); `first_key` is the hex of the key of the next record in an LMDB, and of a list the number of lines that
    were read before. `transform` is the text of the layer's TransformationParameter;
    it is applied as in `phase`, "TRAIN" or "TEST". `seed` seeds the transformer's mt19937, from which `draws` 32-bit
    outputs were drawn; it is None where the layer draws nothing. `labels`: the layer has a second top. `prefetch` is
    the number of batches kept ready. With a `jump` some records are left out on the way.
    """

    layer: str
    source: str
    first_key: str | int
    batch_size: int
    phase: str
    transform: str
    seed: int | None
    draws: int
    labels: bool
    prefetch: int
    jump: Jump | None = None
    files: Files | None = None

    def seeded(self, seed: int | None, list_seed: int | None, skipped: int) -> Stream:
        """With what the layer drew when it was set up."""
        files = replace(self.files, seed=list_seed, skipped=skipped) if self.files else None
        return replace(self, seed=seed, files=files)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Stream:
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Stream:
        jump, files = raw["jump"], raw["files"]
        return cls(**raw | {"jump": Jump(**jump) if jump else None, "files": Files(**files) if files else None})


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
