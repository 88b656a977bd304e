"""The comparison of two runs, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.diagnosis.settings import Setting
from harness.schemas.rewind import NoRewind, Rewind
from harness.schemas.run_info import DigestKind, Verification

Kind = Literal["input", "loss", "gradient", "lr", "update"]  # in the order in which an iteration computes them
ArrayKind = Literal["weight", "input", "gradient", "update"]
# Where the first difference began. `start`: the weights differed before any iteration that both recorded. `data`: the
# same weights read other records. `forward`: the same weights and records gave another loss. `data or forward`: one of
# these; without a window it is not known which. `backward`: the same loss gave another gradient. `rate`: the same
# gradient was used with another learning rate. `update`: with the same one, but momentum, decay or clipping differed.
Cause = Literal["start", "data", "forward", "data or forward", "backward", "rate", "update", "unknown"]


@dataclass(frozen=True)
class Extent:
    """`count` iterations, from `first` to `last`."""

    first: int
    last: int
    count: int


@dataclass(frozen=True)
class Part:
    """One kind of value in the iteration in which the difference began.

    `source` is what was compared: arrays of a window, norms of all blobs, or a series. `same` is None where none of
    them was recorded by both.
    """

    kind: Kind
    same: bool | None
    source: Literal["window", "norms", "series"]


@dataclass(frozen=True)
class ArrayDifference:
    """The largest difference among the arrays of one kind in one iteration: element `index` of the array `label`.

    `elements` of its `size` elements differ, and so do `blobs` of the `compared` arrays. `largest` is |a - b|: infinite
    where one of them is NaN, 0 where only the bits differ (0.0 and -0.0).
    """

    kind: ArrayKind
    iteration: int
    label: str
    index: tuple[int, ...]
    a: float
    b: float
    largest: float
    elements: int
    size: int
    blobs: int
    compared: int


@dataclass(frozen=True)
class KeyDifference:
    """The first record that differs: its position in the batch, its LMDB keys (None beyond the end of a batch), and the
    number of records of that iteration that differ."""

    iteration: int
    position: int
    a: bytes | None
    b: bytes | None
    count: int


@dataclass(frozen=True)
class ValueDifference:
    """The first iteration at which a series differs."""

    name: str
    iteration: int
    a: float
    b: float


@dataclass(frozen=True)
class Comparison:
    """Two runs, over the iterations that both recorded.

    Attributes:
        a, b, common: the iterations that were recorded by either, and by both; None where there are none.
        digest_kinds: how either run hashed its weights; if not alike, weights are compared by the norms of all blobs.
        weights: the first t for which W_t differs.
        moment: the iteration in which the difference began; None where nothing differs, or it began before.
        parts: which kinds of values are the same there.
        arrays: the largest differences there, and in the weights that result.
        verified: how each run compared with the one that it continues; None where it continues none.
        rewinds: how to record the iterations of the difference in each run, for a closer look; None where nothing
            differs, or a run has them in a window.
    """

    a: Extent | None
    b: Extent | None
    common: Extent | None
    digest_kinds: tuple[DigestKind, DigestKind]
    weights: int | None
    moment: int | None
    cause: Cause | None
    parts: tuple[Part, ...]
    arrays: tuple[ArrayDifference, ...]
    key: KeyDifference | None
    values: tuple[ValueDifference, ...]
    settings: tuple[Setting, ...]
    verified: tuple[Verification | None, Verification | None]
    rewinds: tuple[Rewind | NoRewind | None, Rewind | NoRewind | None]

    @property
    def same_digests(self) -> bool:
        """Digests can be compared."""
        return self.digest_kinds[0] == self.digest_kinds[1]

    @property
    def identical(self) -> bool:
        """Nothing that was recorded of the training differs; settings may differ."""
        return self.common is not None and self.weights is None and not self.values and self.key is None
