"""Leave records out of a training for good (`--skip-records`), from all inputs of the train net.

In the stream of a layer the next record follows in the place of one that is left out, so that all later batches shift.
Crops and mirrors are drawn for the images in the stream: a training without shuffle that leaves records out from its
beginning equals one on a data set without them. A shuffled order stays that of all records.
"""

from __future__ import annotations

import bisect
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

from harness.caffe_files.formatting import printable
from harness.caffe_files.hdf5_list import HDF5Files, short_names
from harness.caffe_files.lmdb_file import Records
from harness.caffe_files.sources import Sources
from harness.errors import BadInput
from harness.prefetch.epochs import Epochs
from harness.prefetch.positions import with_orders
from harness.schemas.data_position import RowsPosition, StreamPosition, TrainingPosition

_FIELD = "--skip-records"
_NUMBERED = re.compile(rb"\d{8,}_(.+)", re.DOTALL)  # a key of convert_imageset: a number, and the path in its list
_NEAR = 500  # keys that are compared with one that is unknown


def given_keys(text: str | None) -> tuple[str, ...]:
    """Return the keys in the value of `--skip-records`: separated by commas, or in the lines of the file after an @.

    A value with line breaks has a key on each line: so keys can have commas.

    Raises:
        BadInput: the file cannot be read; there is no key.
    """
    if text is None:
        return ()
    parts = text.splitlines() if "\n" in text else text.split(",")
    if text.startswith("@") and "\n" not in text:
        try:
            parts = printable(Path(text[1:]).read_bytes()).splitlines()
        except OSError as error:
            raise BadInput(
                f"cannot be read ({error.strerror})",
                field=_FIELD,
                value=text,
                remedy="Give a file with a key on each line",
            ) from None
    keys = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not keys:
        raise BadInput("has no key", field=_FIELD, value=text, remedy="Give the keys of records, separated by commas")
    return keys


@dataclass(frozen=True)
class _Input:
    """The records of one data layer, numbered as it reads them without a shuffle; `shuffled` if it reads otherwise.

    `names` are other names of the files in the keys of rows: those in the list, with their directories.
    """

    layer: str
    source: str
    batch_size: int
    keys: Sequence[bytes]
    shuffled: bool
    names: Mapping[str, str] = field(default_factory=dict)

    def key(self, given: str) -> bytes:
        """Return `given` as a key of these records."""
        name, colon, row = given.rpartition(":")
        return os.fsencode(f"{self.names.get(name, name)}{colon}{row}")

    def numbers(self) -> Mapping[bytes, list[int]]:
        """Number the records by key; those of convert_imageset by the path in their key as well."""
        found: dict[bytes, list[int]] = {}
        short: dict[bytes, list[int]] = {}
        for number, key in enumerate(self.keys):
            found.setdefault(key, []).append(number)
            if match := _NUMBERED.fullmatch(key):
                short.setdefault(match[1], []).append(number)
        return short | found

    def reads_with(self, other: _Input) -> bool:
        """Check whether this layer reads record n of its source whenever `other` does: they are pairs."""
        same = len(self.keys) == len(other.keys) and self.batch_size == other.batch_size
        return same and not self.shuffled and not other.shuffled


def exclude(point: TrainingPosition, sources: Sources, keys: Sequence[str]) -> TrainingPosition:
    """Return `point` with the records `keys` left out of the inputs of the train net, besides those that are already.

    A record without a key in one layer is left out there as well if that layer reads its records in pairs with those of
    another: as many, in the same order and batches.

    Raises:
        BadInput: there is no record of a key; a layer or a file would have no record left; the order of a layer is not
            known.
    """
    if not keys:
        return point
    places = [place for place in point.inputs if place.net == 0]
    found = dict(zip((place.index for place in places), _find([_input(p, sources) for p in places], keys), strict=True))

    def of(place: StreamPosition | RowsPosition) -> set[int]:
        return found[place.index] if place.net == 0 else set()

    images = sources.images
    streams = [_without_images(p, of(p), len(images[p.source])) if of(p) else p for p in point.places]
    rows = [_without_rows(p, of(p)) if of(p) else p for p in point.rows]
    return with_orders(replace(point, places=tuple(streams), rows=tuple(rows)))


def excluded_keys(point: TrainingPosition, sources: Sources) -> tuple[str, ...]:
    """Return the keys of the records that are left out of the train net."""
    found: dict[str, None] = {}
    for place in point.inputs:
        if place.net or not place.excluded:
            continue
        keys = _input(place, sources).keys
        numbers = _flat(place) if isinstance(place, RowsPosition) else place.excluded
        found |= {printable(keys[number]): None for number in numbers}
    return tuple(found)


def excluded_numbers(point: TrainingPosition, net: int) -> dict[int, Sequence[int]]:
    """Return the numbers of the records that are left out of `net`, by the index of their layer.

    Rows are numbered through all files.
    """
    return {
        place.index: _flat(place) if isinstance(place, RowsPosition) else place.excluded
        for place in point.inputs
        if place.net == net and place.index is not None and place.excluded
    }


def _find(inputs: Sequence[_Input], keys: Sequence[str]) -> list[set[int]]:
    """Find the numbers of the records `keys` in each of `inputs`."""
    books = [each.numbers() for each in inputs]
    found: list[set[int]] = [set() for _ in inputs]
    for key in keys:
        hits = [set(book.get(each.key(key), ())) for each, book in zip(inputs, books, strict=True)]
        if not any(hits):
            hits = [{n for n, known in enumerate(each.keys) if printable(known) == key} for each in inputs]
        if not any(hits):
            raise _unknown(key, inputs, books)
        for number, each in enumerate(inputs):
            pairs = [hits[n] for n, other in enumerate(inputs) if hits[n] and each.reads_with(other)]
            found[number] |= hits[number].union(*pairs)
    return found


def _unknown(key: str, inputs: Sequence[_Input], books: Sequence[Mapping[bytes, list[int]]]) -> BadInput:
    where = ", ".join(dict.fromkeys(each.source for each in inputs)) or "no LMDB, list or HDF5 file"
    near = [name for book in books for name in _neighbours(key, book)]
    close = difflib.get_close_matches(key, near, n=1, cutoff=0.0)
    return BadInput(
        f"no record of that key; the train net reads {where}",
        field=_FIELD,
        value=key,
        remedy=f"The nearest key is {close[0]}" if close else "Leave it out",
    )


def _neighbours(key: str, book: Mapping[bytes, list[int]]) -> list[str]:
    """Return some keys that may look like `key`: those beside it in their order, and some that end as it does."""
    wanted = os.fsencode(key)
    ordered = sorted(book)
    at = bisect.bisect(ordered, wanted)
    tail = wanted[-4:]
    ending = [name for name in ordered if abs(len(name) - len(wanted)) <= 1 and name[-8:-4] == wanted[-8:-4]]
    ending += [name for name in ordered if name.endswith(tail)]
    return [printable(name) for name in [*ordered[max(0, at - _NEAR) : at + _NEAR], *ending[:_NEAR]]]


def _input(place: StreamPosition | RowsPosition, sources: Sources) -> _Input:
    known: Records | HDF5Files | None = sources.images.get(place.source)
    shuffled, names = place.shuffle, dict[str, str]()
    if isinstance(place, RowsPosition):
        files = sources.rows[place.source]
        names = dict(zip(files.names, short_names(files.names), strict=True))
        rows = zip(names.values(), place.counts, strict=True)
        keys = [os.fsencode(f"{name}:{row}") for name, count in rows for row in range(count)]
    else:
        keys = known.keys.tolist() if isinstance(known, Records) else []  # the windows of WindowData have no keys
        shuffled = shuffled or place.rand_skip > 0
    return _Input(place.layer, place.source, place.batch_size, keys, shuffled, names)


def _without_images(place: StreamPosition, numbers: set[int], count: int) -> StreamPosition:
    excluded = tuple(sorted({*place.excluded, *numbers}))
    if len(excluded) >= count:
        raise _nothing_left(place.layer, place.source)
    if place.records == 0 or excluded == place.excluded:
        return replace(place, excluded=excluded)
    if (place.shuffle and place.list_seed is None) or (place.rand_skip and place.skipped is None):
        raise BadInput(
            f"layer {place.layer} has drawn its order behind layers that draw random numbers as well: only Caffe knows "
            "where it stands",
            field=_FIELD,
            value=place.source,
            remedy="Put the data layers first in the net, or start from iteration 0 (--from 0)",
        )
    epochs = Epochs(count, place.list_seed if place.shuffle else None, place.excluded)
    position = epochs.position_without(place.position, excluded)
    skipped = min(place.skipped or 0, position)
    return replace(
        place,
        excluded=excluded,
        records=position - skipped,
        skipped=None if place.skipped is None else skipped,
    )


def _without_rows(place: RowsPosition, numbers: set[int]) -> RowsPosition:
    starts = [0, *accumulate(place.counts)]
    flat = tuple(sorted({*_flat(place), *numbers}))
    excluded = []
    for number in flat:
        file = bisect.bisect(starts, number) - 1
        excluded.append((file, number - starts[file]))
    for file, count in enumerate(place.counts):
        if sum(other == file for other, _ in excluded) == count:
            raise _nothing_left(place.layer, f"file {file + 1} of {place.source}")
    records = place.records
    if not place.shuffle and records and flat != _flat(place):
        records = Epochs(starts[-1], None, _flat(place)).position_without(records, flat)
    return replace(place, excluded=tuple(excluded), records=records)


def _flat(place: RowsPosition) -> tuple[int, ...]:
    """Number the rows that are left out through all files."""
    starts = [0, *accumulate(place.counts)]
    return tuple(starts[file] + row for file, row in place.excluded)


def _nothing_left(layer: str, what: str) -> BadInput:
    return BadInput(
        f"nothing would be left of {what} for layer {layer}",
        field=_FIELD,
        remedy="Leave out fewer records, or take the file out of the list",
    )
