"""Feeds: the batches that a replay worker gives to the data layers of an arm, as places in a batch store.

A batch store is one file of float32 numbers, which only grows. A batch lies there as its tops, one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

Shape = tuple[int, ...]


@dataclass(frozen=True)
class StoredLayer:
    """A data layer whose batches come from a batch store: number `index` of the train net."""

    index: int

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> StoredLayer:
        return msgspec.json.decode(text, type=cls)


class StoredRecord(msgspec.Struct, frozen=True, array_like=True):
    """A record that takes the place `position` of a batch: its part of each top, from byte `offset` of the store on."""

    position: int
    offset: int


class StoredBatch(msgspec.Struct, frozen=True, array_like=True):
    """A batch: its tops, with these `shapes`, from byte `offset` of the store on; then some records are replaced."""

    offset: int
    shapes: tuple[Shape, ...]
    replaced: tuple[StoredRecord, ...] = ()


class LayerFeed(msgspec.Struct, frozen=True, array_like=True):
    """The batches of one data layer, number `index` of the train net, pass by pass."""

    index: int
    batches: tuple[StoredBatch, ...]


Feed = tuple[LayerFeed, ...]
