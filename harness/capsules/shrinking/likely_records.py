"""The records of a capsule that its break is likely to need: those with which a search begins."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.caffe_files.messages import parse_text, pb
from harness.capsules.packing.records_read import lines_read
from harness.capsules.shrinking.reductions import data_set_of
from harness.diagnosis.recorded.batch import batch_of
from harness.recording import Recording
from harness.recording.result_files import read_explanation
from harness.schemas.data_position import RowsPosition, StreamPosition
from harness.schemas.run_info import RunInfo

Item = tuple[str, int]  # a record: the data set, as in `data/0`, and its number there


def records_read(info: RunInfo, iteration: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return the records that each data layer of the train net reads in an iteration of a capsule, by data set."""
    solver = parse_text(info.solver, pb.SolverParameter, Path("run.json"))
    passes = max(1, solver.iter_size)
    found = {}
    for place in info.point.of_train_net:
        start = (iteration - info.first) * passes * place.batch_size
        numbers = _numbers(place, (iteration - info.first + 1) * passes, info.data[place.source].records)
        found[data_set_of(info, place)] = numbers[start : start + passes * place.batch_size]
    return found


def _numbers(place: StreamPosition | RowsPosition, passes: int, count: int) -> npt.NDArray[np.int64]:
    if isinstance(place, RowsPosition):
        return (np.arange(place.records, place.records + passes * place.batch_size) % count).astype(np.int64)
    return lines_read(place, passes, count).astype(np.int64)


def stand_ins(info: RunInfo, unlike: Collection[Item]) -> dict[Item, int]:
    """Choose for each record of a capsule one of its first iteration that can take its place, in the same data set.

    It is the one at the same place of the batch, so that the labels of a batch stay as mixed as they were. Records of
    the first iteration itself have none, nor has anything where all of these are `unlike` others.
    """
    solver = parse_text(info.solver, pb.SolverParameter, Path("run.json"))
    passes = (info.until - info.first) * max(1, solver.iter_size)
    first = records_read(info, info.first)
    found: dict[Item, int] = {}
    for place in info.point.of_train_net:
        name = data_set_of(info, place)
        ordinary = [int(n) for n in first[name] if (name, int(n)) not in unlike]
        for slot, number in enumerate(_numbers(place, passes, info.data[place.source].records).tolist()):
            item = name, int(number)
            if ordinary and item[1] not in ordinary and item not in found:
                same = int(first[name][slot % len(first[name])])
                found[item] = same if same in ordinary else ordinary[slot % len(ordinary)]
    return found


def likely_items(run: Path, info: RunInfo, onset: int) -> frozenset[Item]:
    """Find the records that `explain` has found to do damage, or else those of the onset's batch that are outliers.

    Raises:
        BadInput, RecordingError: the run cannot be read.
    """
    explanation = read_explanation(run)
    culprits = explanation.verdict.records if explanation is not None else ()
    places = [(one.iteration, one.index) for one in culprits if info.first <= one.iteration < info.until]
    if not places:
        with Recording(run, may_repair=False) as recording:
            batch = batch_of(recording, onset)
        places = [] if batch is None else [(onset, int(index)) for index in np.flatnonzero(batch.outliers)]
    return frozenset(
        (name, int(numbers[index]))
        for iteration, index in places
        for name, numbers in records_read(info, iteration).items()
        if index < len(numbers)
    )
