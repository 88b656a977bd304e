"""The data that the train net of a run reads, from any iteration on: positions, and the files themselves."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from google.protobuf import text_format

from harness.caffe_files.hdf5_list import HDF5Files
from harness.caffe_files.layer_types import ROWS
from harness.caffe_files.lmdb_file import Records
from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.paths import is_directory
from harness.prefetch.epochs import Epochs
from harness.prefetch.streams import stream_of
from harness.schemas.data_position import RowsPosition, StreamPosition, TrainingPosition
from harness.schemas.run_info import RunInfo
from harness.schemas.stream import Files, Stream
from harness.training_data.place import position_at
from harness.training_data.records import RecordsUnknown
from harness.training_data.rows import rows_of
from harness.training_data.sources import files_of, records_of

Ints = npt.NDArray[np.int64]


class RunData:
    """The data of the run in the directory `run`, whose run.json is `info`.

    Each source is opened once; that it is still the one of the run is checked then.

    Attributes:
        directory: that from which relative paths count.
        net: the train net; layers are named by their number in it.
        passes: of an iteration.

    Raises:
        BadInput: a prototxt in run.json cannot be parsed.
    """

    def __init__(self, run: Path, info: RunInfo) -> None:
        started_in = Path(info.directory)
        self.directory = started_in if is_directory(started_in) else Path.cwd()  # as a restart takes relative paths
        self.net = parse_text(info.net, pb.NetParameter, run / "run.json")
        self._run, self._info = run, info
        self._solver = parse_text(info.solver, pb.SolverParameter, run / "run.json")
        self.passes = int(self._solver.iter_size)
        self._open_records, self._open_files = cache(self._records), cache(self._files)

    def position(self, iteration: int) -> TrainingPosition:
        """Return where the run stood in its data before the training passes of `iteration`.

        Raises:
            RecordsUnknown: the run begins later, or run.json is damaged.
        """
        if iteration < self._info.first:
            raise RecordsUnknown(f"Iteration {iteration:,} is not of this run, which begins at {self._info.first:,}.")
        try:
            return position_at(self._run, self._info, self._solver, self.net, iteration)
        except ValueError as error:
            raise RecordsUnknown(f"The position of the data in run.json is damaged ({error}).") from None

    def stream(self, index: int, iteration: int) -> tuple[Stream, Records]:
        """Return what the Data or ImageData layer number `index` reads from `iteration` on, and its source.

        The iterations before a run that continues another are those that come before in its stream.

        Raises:
            RecordsUnknown: that is not known for certain, or the source is gone or has changed.
        """
        layer, place = self.net.layer[index], self._place(index, iteration)
        records = self._open_records(index)
        stream = stream_of(layer, replace(place, source=str(records.source)), records)
        if place.shuffle or place.rand_skip:
            stream = stream.seeded(place.seed, place.list_seed, place.skipped or 0)
        return _from_directory(stream, self.directory), records

    def passes_before(self, index: int) -> int:
        """Return how many batches come in the stream of the Data or ImageData layer number `index` before the run.

        Raises:
            RecordsUnknown: as above.
        """
        return self._place(index, self._info.first).batches_before

    def record_numbers(self, index: int, iterations: range) -> Ints:
        """Return (iterations, records) which records of its source an image or row layer reads, by number.

        Args:
            iterations: of rows, none before the run.

        Raises:
            RecordsUnknown: as above.
        """
        if self.net.layer[index].type in ROWS:
            place, _, rows = self.rows(index, iterations.start, len(iterations))
            before = np.cumsum((0, *place.counts))  # the rows of the files before each
            found = np.array([before[file] + row for file, row in rows], np.int64)
        else:
            found = _numbers(
                self._place(index, iterations.start), len(iterations) * self.passes, len(self._open_records(index))
            )
        return found.reshape(len(iterations), -1)

    def _place(self, index: int, iteration: int) -> StreamPosition:
        name, first = self.net.layer[index].name, self._info.first
        position = self.position(max(first, iteration))
        place = next((p for p in position.places if p.net == 0 and p.index == index), None)
        if place is None:
            raise RecordsUnknown(f"run.json has no position of layer {name} in its data.")
        if not place.known:
            raise RecordsUnknown(
                f"The random numbers of layer {name} are not known: layers before it drew some at the start."
            )
        if iteration >= first:
            return place
        earlier = (first - iteration) * self.passes
        if earlier > place.batches_before:
            raise RecordsUnknown(
                f"Iteration {iteration:,} is not of this run, which begins at {first:,}, and the data of layer {name} "
                "begin later than that."
            )
        return place.before(earlier)

    def rows(self, index: int, iteration: int, count: int) -> tuple[RowsPosition, HDF5Files, list[tuple[int, int]]]:
        """Return what the HDF5Data layer number `index` reads in `count` iterations from `iteration` on.

        That are its position, its files, and the (file, row) of each row.

        Raises:
            RecordsUnknown: run.json does not say, or the files are gone or have changed.
        """
        position = self.position(iteration)
        places = [place for place in position.rows if place.net == 0]
        number = next((n for n, place in enumerate(places) if place.index == index), None)
        if number is None:
            raise RecordsUnknown(f"run.json has no position of layer {self.net.layer[index].name} in its data.")
        if count > 1 and any(place.net and place.shuffle for place in position.rows):
            # test passes between these iterations draw from the same generator
            rows = [row for t in range(iteration, iteration + count) for row in self.rows(index, t, 1)[2]]
        else:
            rows = rows_of(places, position.rand, self.passes * count)[number]
        return places[number], self._open_files(index), rows

    def _records(self, index: int) -> Records:
        place = next(p for p in self.position(self._info.first).places if p.net == 0 and p.index == index)
        return records_of(self.directory, self.net.layer[index], place)

    def _files(self, index: int) -> HDF5Files:
        place = next(p for p in self._info.point.rows if p.net == 0 and p.index == index)
        return files_of(self.directory, self.net.layer[index], place)


def _numbers(place: StreamPosition, passes: int, count: int) -> Ints:
    """Return the numbers, among `count` records, of those that a layer reads in its next `passes` from `place` on."""
    numbers = np.arange(passes)
    if place.skip:
        numbers[place.skip_at :] += place.skip
    positions = (place.position + numbers[:, np.newaxis] * place.batch_size + np.arange(place.batch_size)).ravel()
    return Epochs(count, place.list_seed if place.shuffle else None, place.excluded).lines(positions).astype(np.int64)


def _from_directory(stream: Stream, directory: Path) -> Stream:
    """Return the stream with relative paths of its transformer and list counted from `directory`."""
    transform = text_format.Parse(stream.transform, pb.TransformationParameter())
    if transform.mean_file:
        transform.mean_file = str(directory / transform.mean_file)
    files = stream.files
    if isinstance(files, Files):
        files = msgspec.structs.replace(files, directory=str(directory))
    return replace(stream, transform=text_format.MessageToString(transform), files=files)
