"""The streams of data layers: their next records, and the states of their generators."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from harness.schemas.data_position import RowsPosition


@dataclass(frozen=True)
class Jump:
    """A jump of a stream after `after` batches: to the record `key`, with the generator outputs after `draws`.

    `key` has the form of a Stream's `first_key`.
    """

    after: int
    key: str | int
    draws: int


class Windows(msgspec.Struct, frozen=True, tag=True):
    """Parameters of a WindowData layer's stream, whose source is a window file: the text of its WindowDataParameter."""

    param: str


class Files(msgspec.Struct, frozen=True, tag=True):
    """Parameters of an ImageData layer's stream, whose source is a list of files below `root` (a prefix).

    Relative paths count from `directory`, which is the current directory if it is empty.

    Images are read in colour or in grey, and resized if `height` and `width` are not 0. The list is shuffled with
    `seed` if `shuffled`, and its first `skipped` lines are left out: the layer draws these two numbers.
    """

    root: str
    colour: bool
    height: int
    width: int
    shuffled: bool
    seed: int | None = None
    skipped: int = 0
    directory: str = ""


@dataclass(frozen=True)
class RowsStream:
    """The rows that an HDF5Data layer is to read, from `position` on: the datasets `tops` of `files`."""

    position: RowsPosition
    files: tuple[str, ...]
    tops: tuple[str, ...]

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> RowsStream:
        return msgspec.json.decode(text, type=cls)


@dataclass(frozen=True)
class Stream:
    """The stream of a `Data` layer or, with `files`, of an `ImageData` or `WindowData` layer, from its next image on.

    `source` is the LMDB directory, or the list, as the layer's `source` has it (a relative one counts from the current
    directory); `first_key` is the hex of the key of the next record in an LMDB, and of a list the number of lines that
    were read before. `transform` is the text of the layer's TransformationParameter;
    it is applied as in `phase`, "TRAIN" or "TEST". `seed` seeds the transformer's mt19937, from which `draws` 32-bit
    outputs were drawn; it is None where the layer draws nothing. `labels`: the layer has a second top. `prefetch` is
    the number of batches kept ready. With a `jump` some records are left out on the way. Those that are `excluded` are
    never read: keys in hex, or numbers of lines. `net` and `index` say which layer it is, as in a StreamPosition.
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
    files: Files | Windows | None = None
    net: int = 0
    index: int = 0
    excluded: tuple[str | int, ...] = ()

    def seeded(self, seed: int | None, list_seed: int | None, skipped: int) -> Stream:
        """Return the stream with what the layer drew when it was set up."""
        files = self.files
        if isinstance(files, Files):
            files = msgspec.structs.replace(files, seed=list_seed, skipped=skipped)
        return replace(self, seed=seed, files=files)

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> Stream:
        return msgspec.json.decode(text, type=cls)
