"""Which iterations read records that other iterations read as well: a small data set is read again and again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness.caffe_files.layer_types import IMAGES, ROWS
from harness.recording.run_directory import read_info
from harness.training_data.records import RecordsUnknown
from harness.training_data.run_data import RunData


def with_records_of(run: Path, near: range, among: range) -> frozenset[int]:
    """Return the iterations of `among` in which a layer reads a record that it reads in `near` as well.

    Layers whose records are not known are passed over, and so are iterations of `among` before the run, where it reads
    rows.

    Args:
        run: the run directory.
        near: iterations of the run.

    Raises:
        BadInput: run.json cannot be read.
    """
    info = read_info(run)
    data = RunData(run, info)
    found: set[int] = set()
    for index, layer in enumerate(data.net.layer):
        if layer.type in IMAGES + ROWS:
            begin = info.first if layer.type in ROWS else among.start
            found.update(_with_records_of(data, index, near, range(max(begin, among.start), among.stop)))
    return frozenset(found)


def _with_records_of(data: RunData, index: int, near: range, among: range) -> Iterator[int]:
    try:
        numbers = data.record_numbers(index, near), data.record_numbers(index, among)
    except RecordsUnknown:
        return
    yield from (among.start + np.flatnonzero(np.isin(numbers[1], numbers[0]).any(axis=1))).tolist()
