"""Read the records of an iteration of a run again, from the data set, as the net saw them."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path

import lmdb

from harness.caffe_files.layer_types import IMAGES, ROWS, WINDOWS, is_input_without_position
from harness.caffe_files.lmdb_file import Records
from harness.caffe_files.messages import pb
from harness.caffe_files.net import NetFile, class_count, data_param_of
from harness.recording.run_directory import read_info
from harness.schemas.run_info import RunInfo
from harness.training_data.class_names import ClassNames, find_class_names
from harness.training_data.records import IterationRecords, LayerRecords, RecordsUnknown
from harness.training_data.rows import read_rows
from harness.training_data.run_data import RunData


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
        self._info = read_info(run)
        self._data = RunData(run, self._info)
        self._net = self._data.net

    def read(self, iteration: int) -> IterationRecords:
        info = self._info
        if not info.first <= iteration < info.until:
            has = f"iterations {info.first:,} to {info.until - 1:,}"
            raise RecordsUnknown(f"Iteration {iteration:,} is not of this run, which has {has}.")
        self._data.position(iteration)  # raises where that is damaged
        layers, unknown = [], []
        for index, layer in enumerate(self._net.layer):
            if layer.type not in IMAGES + ROWS + WINDOWS and not is_input_without_position(layer):
                continue
            try:
                layers.append(self._layer(index, layer, iteration))
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
        found = (find_class_names(self._data.directory / source, classes) for source in sources if source)
        return next((names for names in found if names is not None), None)

    def _layer(self, index: int, layer: pb.LayerParameter, iteration: int) -> LayerRecords:
        if layer.type in IMAGES:
            return self._images(index, layer, iteration)
        if layer.type in ROWS:
            place, files, rows = self._data.rows(index, iteration, 1)
            return read_rows(place, files, list(layer.top), rows, find_class_names(files.source, self._classes()))
        if layer.type in WINDOWS:
            raise RecordsUnknown(
                f"Layer {layer.name} (WindowData) cuts windows out of images, which are not read again."
            )
        raise RecordsUnknown(f"Which data layer {layer.name} ({layer.type}) gave the net is not known after the run.")

    def _images(self, index: int, layer: pb.LayerParameter, iteration: int) -> LayerRecords:
        from harness.training_data.images import read_images  # loads OpenCV, which commands that read none do not need

        stream, records = self._data.stream(index, iteration)
        names = self._class_names(records) if stream.labels else None
        count = stream.batch_size * self._data.passes
        return read_images(stream, list(layer.top), count, names, _begun(self._info))

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


def _begun(info: RunInfo) -> float | None:
    """Return when the run began, in seconds since 1970."""
    with suppress(ValueError):
        return datetime.strptime(info.started, "%Y-%m-%dT%H:%M:%S%z").timestamp() + 1  # it is written in seconds
    return None
