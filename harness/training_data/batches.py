"""Read the batches of data layers again, pass by pass, from the data set or from the inputs in a window of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice, repeat
from pathlib import Path
from typing import Protocol

import lmdb
import numpy as np
from google.protobuf import text_format

from harness.caffe_files.layer_types import IMAGES, ROWS, WINDOWS, is_input_without_position
from harness.caffe_files.messages import pb
from harness.caffe_files.net import data_param_of
from harness.caffe_files.transformer_rng import draws_per_image, mt19937
from harness.errors import RecordingError
from harness.prefetch.batches import drawn_images, fill_batches
from harness.prefetch.images import Image, Transformer
from harness.prefetch.shared_batch import BatchShape
from harness.recording import Recording
from harness.recording.run_directory import read_info
from harness.schemas.arm import Place
from harness.training_data.records import Floats, RecordsUnknown
from harness.training_data.rows import read_rows
from harness.training_data.run_data import RunData

Tops = tuple[Floats, ...]

_ITERATIONS = 16  # whose records are kept in memory, each time those that were used last


class LayerBatches(Protocol):
    """The batches of one data layer.

    Attributes:
        name: of the layer.
        index: its number in the train net.
        first: the iteration whose batches are the first ones that can be read: of the run, or before it in its stream.
    """

    name: str
    index: int
    first: int

    def passes(self, first: int, count: int) -> Iterator[Tops]:
        """Yield the tops of each pass of `count` iterations from `first` on; they may be overwritten by the next ones.

        Raises:
            RecordsUnknown: they cannot be told for certain, or cannot be read.
        """
        ...

    def record(self, source: Place, place: Place) -> Tops:
        """Return the record at `source`, its part of each top, as the layer would give it at `place`.

        Raises:
            RecordsUnknown: as above.
        """
        ...


def train_batches(run: Path) -> tuple[LayerBatches, ...]:
    """List the data layers of the train net of a run whose batches can be read again.

    A layer whose data are gone, have changed, or cannot be positioned is read from windows, if any of them has inputs.

    Raises:
        BadInput: run.json cannot be read.
        RecordsUnknown: the batches of a layer with a position can be read from nowhere.
    """
    info = read_info(run)
    data = RunData(run, info)
    found: list[LayerBatches] = []
    for index, layer in enumerate(data.net.layer):
        if layer.type in IMAGES + ROWS + WINDOWS or is_input_without_position(layer):
            reason = _unreadable(data, index, info.first)
            if reason is None:
                found.append(
                    _Images(data, index, info.first) if layer.type in IMAGES else _Rows(data, index, info.first)
                )
            elif _in_windows(run, layer):
                found.append(_InWindows(run, layer, index, info.first, data.passes, reason))
            elif layer.type in IMAGES + ROWS + WINDOWS:
                raise RecordsUnknown(f"{reason} Nor does the run have a window with the inputs of this layer.")
    return tuple(found)


def first_batches(run: Path) -> int:
    """Return the first iteration whose batches can be read: that of the run, or an earlier one of the same stream.

    Raises:
        BadInput, RecordsUnknown: as `train_batches`.
    """
    return max((layer.first for layer in train_batches(run)), default=read_info(run).first)


def _unreadable(data: RunData, index: int, first: int) -> str | None:
    """Return why the batches of a layer cannot be read from its data; None if they can."""
    layer = data.net.layer[index]
    try:
        if layer.type in IMAGES:
            data.stream(index, first)
        elif layer.type in ROWS:
            data.rows(index, first, 1)
        else:
            return f"Which data layer {layer.name} ({layer.type}) gives the net is known from windows only."
    except RecordsUnknown as error:
        return str(error)
    return None


def _in_windows(run: Path, layer: pb.LayerParameter) -> bool:
    with Recording(run) as recording:
        kept = any("input" in recording.window_arrays(t) for t in recording.window_iterations.tolist())
        return kept and {*layer.top} <= {blob.name for blob in recording.inputs}


class _Images:
    """The batches of a Data or ImageData layer."""

    def __init__(self, data: RunData, index: int, first: int) -> None:
        self.name, self.index = data.net.layer[index].name, index
        self.first = max(0, first - data.passes_before(index) // data.passes)
        self._data = data
        self._images = lru_cache(_ITERATIONS)(self._decoded)
        self._streams = lru_cache(_ITERATIONS)(lambda iteration: data.stream(index, iteration)[0])

    def passes(self, first: int, count: int) -> Iterator[Tops]:
        with _read_errors(self.name):
            stream, _ = self._data.stream(self.index, first)
            memory = _Memory()
            for shape in fill_batches(stream, islice(repeat(memory), count * self._data.passes)):
                yield memory.arrays(shape)[: 1 + stream.labels]

    def record(self, source: Place, place: Place) -> Tops:
        with _read_errors(self.name):
            image = self._images(source.iteration)[source.position]
            there = self._streams(place.iteration)
            transform = text_format.Parse(there.transform, pb.TransformationParameter())
            per_image = draws_per_image(transform, there.phase)
            random = mt19937(there.seed or 0, there.draws + place.position * per_image if per_image else 0)
            transformer = Transformer(transform, there.phase)
            values = np.empty(transformer.shape(image), np.float32)
            transformer(image, random.random_raw(per_image), values)
        return (values, np.array(image.label, np.float32))[: 1 + there.labels]

    def _decoded(self, iteration: int) -> list[Image]:
        """Read the records of an iteration, which are not transformed yet."""
        stream = self._streams(iteration)
        count = stream.batch_size * self._data.passes
        return [image for image, _ in islice(drawn_images(stream, stream.first_key, 0), count)]


class _Memory:
    """Memory for one batch."""

    def __init__(self) -> None:
        self._shape: BatchShape | None = None

    def arrays(self, shape: BatchShape) -> tuple[Floats, Floats]:
        if self._shape != shape:
            self._shape = shape
            self._images, self._labels = np.empty(shape, np.float32), np.empty(shape[0], np.float32)
        return self._images, self._labels


class _Rows:
    """The batches of an HDF5Data layer."""

    def __init__(self, data: RunData, index: int, first: int) -> None:
        layer = data.net.layer[index]
        self.name, self.index, self.first = layer.name, index, first
        self._data, self._tops, self._batch = data, list(layer.top), int(data_param_of(layer).batch_size)

    def passes(self, first: int, count: int) -> Iterator[Tops]:
        with _read_errors(self.name):
            place, files, rows = self._data.rows(self.index, first, count)
            for start in range(0, len(rows), self._batch):
                read = read_rows(place, files, self._tops, rows[start : start + self._batch], None)
                yield tuple(read.inputs[top] for top in self._tops)

    def record(self, source: Place, place: Place) -> Tops:
        with _read_errors(self.name):
            where, files, rows = self._data.rows(self.index, source.iteration, 1)
            read = read_rows(where, files, self._tops, [rows[source.position]], None)
        return tuple(read.inputs[top][0] for top in self._tops)


class _InWindows:
    """The batches of a layer as windows of the run have them.

    A record keeps the crop and the mirroring with which the net saw it. `reason`: why the data are not read.
    """

    def __init__(self, run: Path, layer: pb.LayerParameter, index: int, first: int, passes: int, reason: str) -> None:
        self.name, self.index, self.first = layer.name, index, first
        self._run, self._tops, self._passes, self._reason = run, list(layer.top), passes, reason

    def passes(self, first: int, count: int) -> Iterator[Tops]:
        with Recording(self._run) as recording:
            for iteration in range(first, first + count):
                tops = self._inputs(recording, iteration)
                for number in range(self._passes):
                    yield tuple(values[number] for values in tops)

    def record(self, source: Place, place: Place) -> Tops:
        with Recording(self._run) as recording:
            tops = self._inputs(recording, source.iteration)
        return tuple(values.reshape(-1, *values.shape[2:])[source.position] for values in tops)

    def _inputs(self, recording: Recording, iteration: int) -> Sequence[Floats]:
        """Read the tops (passes, *shape) of an iteration."""
        try:
            tops = [recording.input(iteration, top) for top in self._tops]
        except RecordingError as error:
            raise RecordsUnknown(f"{self._reason} And {error}") from None
        return [values if self._passes > 1 else values[np.newaxis] for values in tops]


@contextmanager
def _read_errors(name: str) -> Iterator[None]:
    """Raise what goes wrong while records are read as RecordsUnknown."""
    try:
        yield
    except (ValueError, OSError, KeyError, lmdb.Error, RuntimeError) as error:
        raise RecordsUnknown(f"The records of layer {name} cannot be read ({error}).") from None
