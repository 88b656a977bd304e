"""Read the rows of HDF5Data layers as the net saw them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import h5py
import numpy as np

from harness.caffe_files.hdf5_list import HDF5Files, short_names
from harness.prefetch.libc_random import LibcRandom
from harness.prefetch.row_order import RowReader
from harness.schemas.data_position import RowsPosition
from harness.training_data.class_names import ClassNames
from harness.training_data.records import LARGEST, Floats, LayerRecords, Record, RecordsUnknown, whole_label


def rows_of(places: Sequence[RowsPosition], rand: str | None, passes: int) -> list[list[tuple[int, int]]]:
    """Return the (file, row) that each layer of one net reads in the next `passes`.

    Layers with `shuffle` draw from one generator, in the state `rand`, each in its turn. As in SeekableRows, a gap
    follows at once on the pass before it.
    """
    random = LibcRandom(rand)
    readers = [RowReader(p.counts, random if p.shuffle else None, p.order, p.records, p.excluded) for p in places]
    found: list[list[tuple[int, int]]] = [[] for _ in places]
    for number in range(passes + 1):
        for place, reader, rows in zip(places, readers, found, strict=True):
            for file, numbers in reader.read(place.batch_size if number else 0):
                rows += [(file, int(row)) for row in numbers]
            if place.skip and number == place.skip_at:
                reader.skip(place.skip * place.batch_size)
    return found


def read_rows(
    place: RowsPosition,
    files: HDF5Files,
    tops: Sequence[str],
    rows: Sequence[tuple[int, int]],
    names: ClassNames | None,
) -> LayerRecords:
    """Read `rows` of the datasets `tops` from `files`, converted to float32 by HDF5 as for Caffe.

    Raises:
        RecordsUnknown: they would take too much memory.
        OSError, KeyError: a file or a dataset cannot be read.
    """
    inputs = {top: _read(place.layer, files.names, top, rows) for top in tops}
    called = short_names(files.names)
    labels = list(_labels(inputs, tops, len(rows)))
    records = tuple(
        Record(
            key=f"{called[file]}:{row}",
            label=labels[number],
            class_name=None if names is None or labels[number] is None else names[int(labels[number] or 0)],
            crop=None,
            mirrored=False,
            values=inputs[tops[0]][number],
        )
        for number, (file, row) in enumerate(rows)
    )
    return LayerRecords(place.layer, str(files.source), records, inputs)


def _read(layer: str, files: Sequence[str], top: str, rows: Sequence[tuple[int, int]]) -> Floats:
    values: Floats | None = None
    for file in dict.fromkeys(file for file, _ in rows):
        with h5py.File(files[file]) as opened:
            dataset = opened[top]
            if values is None:
                shape = (len(rows), *dataset.shape[1:])
                if 4 * int(np.prod(shape)) > LARGEST:
                    raise RecordsUnknown(
                        f"The {len(rows):,} rows of layer {layer} would take more than {LARGEST >> 30} GiB: not read."
                    )
                values = np.empty(shape, np.float32)
            for number, (other, row) in enumerate(rows):
                if other == file:
                    dataset.read_direct(values, np.s_[row : row + 1], np.s_[number : number + 1])
    assert values is not None
    return values


def _labels(inputs: dict[str, Floats], tops: Sequence[str], count: int) -> Iterator[int | None]:
    """Yield the label of each row: its value in the first top after the data that has one whole number a row."""
    for top in tops[1:]:
        found = [whole_label(value) for value in inputs[top]]
        if None not in found:
            yield from found
            return
    yield from [None] * count
