"""Events of a run: what the worker sends, as the supervisor passes it on to those who follow the run.

Frames, activations, window arrays and test passes travel as plain arrays; a `Note` travels as MessagePack.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from harness.schemas.layout import Layout
from harness.schemas.run_info import Blas, CopiedWeights, Replay


@dataclass(frozen=True)
class Frames:
    """Iterations that are now in the recording: a structured array of Layout.frame_dtype."""

    rows: npt.NDArray[np.void]


@dataclass(frozen=True)
class Activations:
    """(S, A, 4) statistics of the net's blobs (layout.ACTIVATION_STATS) at S iterations, now in the recording."""

    iterations: tuple[int, ...]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Kept:
    """Parts of the window arrays of `iteration`, as written to the recording: the number of an array, and its bytes.

    The bytes still lie in the ring and are gone afterwards. The iteration counts once its frame has arrived.
    """

    iteration: int
    parts: list[tuple[int, memoryview]]


@dataclass(frozen=True)
class TestPass:
    """The averaged outputs of test net `net` at `iteration`."""

    net: int
    iteration: int
    values: npt.NDArray[np.float32]


class Note(msgspec.Struct, frozen=True, tag=True):
    """Something that the worker reports beside numbers."""


class Refused(Note, frozen=True):
    """Weights, state or data cannot be used: the message of a BadInput."""

    message: str


class BlasLoaded(Note, frozen=True):
    """OpenBLAS is loaded and has chosen its kernels."""

    blas: Blas


class WeightsCopied(Note, frozen=True):
    """A caffemodel's weights were copied."""

    weights: CopiedWeights


class Replaying(Note, frozen=True):
    """The random numbers before `iteration` have been drawn again."""

    iteration: int


class Replayed(Note, frozen=True):
    """The random numbers are at their position."""

    replay: Replay


class NotExact(Note, frozen=True):
    """Something was found that keeps the run from repeating the training that it continues, bit for bit."""

    reason: str


class SnapshotTaken(Note, frozen=True):
    """A snapshot is complete: the names of its files, `info` being the JSON."""

    iteration: int
    weight_digest: str
    caffemodel: str
    solverstate: str
    info: str


class SnapshotBegins(Note, frozen=True):
    """A snapshot is about to be published: what was recorded before it must be on the disk first."""


class NoSnapshot(Note, frozen=True):
    """A snapshot cannot be taken, so the training ends."""

    reason: str


class OtherLabels(Note, frozen=True):
    """The labels in the net are not those of the records that it should have read."""

    iteration: int


class OtherShape(Note, frozen=True):
    """An input blob has changed its shape; it is recorded as zeros."""

    iteration: int
    blob: str


class End(Note, frozen=True):
    """The worker has finished. `last_loss` is what Caffe displays after the last iteration, if that is a display."""

    iteration: int
    weight_digest: str
    last_loss: float | None = None


AnyNote = (
    Refused
    | BlasLoaded
    | WeightsCopied
    | Replaying
    | Replayed
    | NotExact
    | SnapshotBegins
    | SnapshotTaken
    | NoSnapshot
    | OtherLabels
    | OtherShape
    | End
)
Event = Layout | Frames | Activations | Kept | TestPass | AnyNote

encode_note = msgspec.msgpack.Encoder().encode
decode_note = msgspec.msgpack.Decoder(AnyNote).decode
