"""Read the records of an iteration of a run again, from the data set, as the net saw them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import lmdb
import msgspec
from google.protobuf import text_format

from harness.caffe_files.layer_types import IMAGES, ROWS, WINDOWS, is_input_without_position
from harness.caffe_files.lmdb_file import Records
from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.net import NetFile, class_count, data_param_of
from harness.caffe_files.paths import is_directory
from harness.prefetch.streams import stream_of
from harness.recording.run_directory import read_info
from harness.schemas.data_position import TrainingPosition
from harness.schemas.run_info import RunInfo
from harness.schemas.stream import Files, Stream
from harness.training_data.class_names import ClassNames, find_class_names
from harness.training_data.place import position_at
from harness.training_data.records import IterationRecords, LayerRecords, RecordsUnknown
from harness.training_data.rows import read_rows, rows_of
from harness.training_data.sources import files_of, records_of


def read_records(run: Path, iteration: int) -> IterationRecords:
    """Read the records that the train net of a run read in `iteration`.

    Nothing of Caffe is needed; of the data set, only these records are read, once it is known that it has not changed
    (an LMDB of up to 4 GiB that was not looked at since is read as a whole).

    Raises:
        RecordsUnknown: the records of no layer are known for certain.
        BadInput: run.json cannot be read.
    """
    return _Reader(run).read(iteration)


def class_names_of(run: Path) -> ClassNames | None:
    """Find the names of the classes of a run beside the data of its train net; None where there is no list of them.

    Raises:
        BadInput: run.json cannot be read.
    """
    return _Reader(run).class_names()


class _Reader:
    def __init__(self, run: Path) -> None:
        self._run, self._info = run, read_info(run)
        started_in = Path(self._info.directory)
        self._directory = started_in if is_directory(started_in) else Path.cwd()  # as a restart takes relative paths
        self._solver = parse_text(self._info.solver, pb.SolverParameter, run / "run.json")
        self._net = parse_text(self._info.net, pb.NetParameter, run / "run.json")
        self._point: TrainingPosition | None = None

    def read(self, iteration: int) -> IterationRecords:
        info = self._info
        if not info.first <= iteration < info.until:
            has = f"iterations {info.first:,} to {info.until - 1:,}"
            raise RecordsUnknown(f"Iteration {iteration:,} is not of this run, which has {has}.")
        try:
            self._point = position_at(self._run, info, self._solver, self._net, iteration)
        except ValueError as error:
            raise RecordsUnknown(f"The position of the data in run.json is damaged ({error}).") from None
        layers, unknown = [], []
        for index, layer in enumerate(self._net.layer):
            if layer.type not in IMAGES + ROWS + WINDOWS and not is_input_without_position(layer):
                continue
            try:
                layers.append(self._layer(index, layer))
            except RecordsUnknown as error:
                unknown.append(str(error))
            except (ValueError, OSError, KeyError, lmdb.Error, RuntimeError) as error:
                unknown.append(f"The records of layer {layer.name} cannot be read ({error}).")
        if not layers:
            raise RecordsUnknown(" ".join(unknown) or "The train net reads no data set.")
        return IterationRecords(iteration, tuple(layers), tuple(unknown))

    def class_names(self) -> ClassNames | None:
        """Find names by the number of the net's classes alone, whether or not the data have changed."""
        classes = self._classes()
        sources = [data_param_of(layer).source for layer in self._net.layer if layer.type in IMAGES + ROWS]
        found = (find_class_names(self._directory / source, classes) for source in sources if source)
        return next((names for names in found if names is not None), None)

    def _layer(self, index: int, layer: pb.LayerParameter) -> LayerRecords:
        if layer.type in IMAGES:
            return self._images(index, layer)
        if layer.type in ROWS:
            return self._rows(index, layer)
        if layer.type in WINDOWS:
            raise RecordsUnknown(
                f"Layer {layer.name} (WindowData) cuts windows out of images, which are not read again."
            )
        raise RecordsUnknown(f"Which data layer {layer.name} ({layer.type}) gave the net is not known after the run.")

    def _images(self, index: int, layer: pb.LayerParameter) -> LayerRecords:
        from harness.training_data.images import read_images  # loads OpenCV, which commands that read none do not need

        assert self._point is not None
        place = next((p for p in self._point.places if p.net == 0 and p.index == index), None)
        if place is None:
            raise RecordsUnknown(f"run.json has no position of layer {layer.name} in its data.")
        if not place.known:
            raise RecordsUnknown(
                f"The random numbers of layer {layer.name} are not known: layers before it drew some at the start."
            )
        records = records_of(self._directory, layer, place)
        stream = stream_of(layer, replace(place, source=str(records.source)), records)
        if place.shuffle or place.rand_skip:
            stream = stream.seeded(place.seed, place.list_seed, place.skipped or 0)
        stream = _from_directory(stream, self._directory)
        names = self._class_names(records) if stream.labels else None
        return read_images(
            stream, list(layer.top), place.batch_size * self._solver.iter_size, names, _begun(self._info)
        )

    def _rows(self, index: int, layer: pb.LayerParameter) -> LayerRecords:
        assert self._point is not None
        places = [place for place in self._point.rows if place.net == 0]
        number = next((n for n, place in enumerate(places) if place.index == index), None)
        if number is None:
            raise RecordsUnknown(f"run.json has no position of layer {layer.name} in its data.")
        files = files_of(self._directory, layer, places[number])
        rows = rows_of(places, self._point.rand, self._solver.iter_size)[number]
        names = find_class_names(files.source, self._classes())
        return read_rows(places[number], files, list(layer.top), rows, names)

    def _class_names(self, records: Records) -> ClassNames | None:
        return find_class_names(records.source, self._classes(), int(records.labels.max()) + 1)

    def _classes(self) -> int | None:
        """Return the number of classes of the net's first softmax loss; None if the net does not say."""
        net = NetFile("run.json", self._net)
        counts = (
            class_count(net, position)
            for position, layer in enumerate(self._net.layer)
            if layer.type == "SoftmaxWithLoss" and layer.bottom
        )
        return next((count for count in counts if count), None)


def _from_directory(stream: Stream, directory: Path) -> Stream:
    """Return the stream with relative paths of its transformer and list counted from `directory`."""
    transform = text_format.Parse(stream.transform, pb.TransformationParameter())
    if transform.mean_file:
        transform.mean_file = str(directory / transform.mean_file)
    files = stream.files
    if isinstance(files, Files):
        files = msgspec.structs.replace(files, directory=str(directory))
    return replace(stream, transform=text_format.MessageToString(transform), files=files)


def _begun(info: RunInfo) -> float | None:
    """Return when the run began, in seconds since 1970."""
    with suppress(ValueError):
        return datetime.strptime(info.started, "%Y-%m-%dT%H:%M:%S%z").timestamp() + 1  # it is written in seconds
    return None
