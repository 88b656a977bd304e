"""Make the batches of a data layer's stream, as Caffe would, from any record on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import lmdb
import numpy as np
import numpy.typing as npt
from google.protobuf import text_format

from harness.caffe_files.formatting import format_shape, printable
from harness.caffe_files.image_list import parse_lines
from harness.caffe_files.messages import pb
from harness.caffe_files.transformer_rng import draws_per_image, mt19937
from harness.prefetch.epochs import Epochs
from harness.prefetch.images import Image, Transformer, decode, read_file
from harness.prefetch.shared_batch import Batch, BatchShape
from harness.prefetch.windows import fill_windows
from harness.schemas.stream import Files, Stream, Windows


def fill_batches(stream: Stream, free: Iterator[Batch]) -> Iterator[BatchShape]:
    """Fill one free batch after the other, and yield the shape of each when it is full.

    See DataLayer::load_batch and ImageDataLayer::load_batch.

    Raises:
        ValueError: a record that Caffe could not use either.
        OSError, lmdb.Error: the list or the LMDB cannot be read.
    """
    jump = stream.jump
    before = free if jump is None else itertools.islice(free, jump.after)
    yield from _fill_from(stream, stream.first_key, stream.draws, before)
    if jump is not None:
        yield from _fill_from(stream, jump.key, jump.draws, free)


def _fill_from(stream: Stream, first_key: str | int, drawn: int, free: Iterator[Batch]) -> Iterator[BatchShape]:
    """Fill batches from the record `first_key` on, after `drawn` outputs of the layer's generator."""
    if isinstance(stream.files, Windows):  # which the draws alone select
        return fill_windows(stream, stream.files, drawn, free)
    return _fill_images(stream, first_key, drawn, free)


def _fill_images(stream: Stream, first_key: str | int, drawn: int, free: Iterator[Batch]) -> Iterator[BatchShape]:
    transform = text_format.Parse(stream.transform, pb.TransformationParameter())
    transformer = Transformer(transform, stream.phase)
    decoded = drawn_images(stream, first_key, drawn)
    for batch in free:
        first, draws = next(decoded)
        shape = transformer.shape(first)
        images, labels = batch.arrays((stream.batch_size, *shape))
        image = first
        for position in range(stream.batch_size):
            if position:
                image, draws = next(decoded)
            if transformer.shape(image) != shape:
                raise ValueError(
                    f"record {image.key}: {format_shape(transformer.shape(image))}, in a batch whose first record "
                    f"{first.key} is {format_shape(shape)}"
                )
            transformer(image, draws, images[position])
            labels[position] = image.label
        yield (stream.batch_size, *shape)


def drawn_images(stream: Stream, first_key: str | int, drawn: int) -> Iterator[tuple[Image, npt.NDArray[np.uint64]]]:
    """Yield the images of `stream` endlessly, each with the outputs of the layer's generator that it takes.

    Args:
        first_key: the first image, as in a Stream.
        drawn: the outputs that were drawn before.

    Raises:
        ValueError, OSError, lmdb.Error: as `fill_batches`.
    """
    transform = text_format.Parse(stream.transform, pb.TransformationParameter())
    per_image = draws_per_image(transform, stream.phase)
    random = mt19937(stream.seed or 0, drawn if per_image else 0)
    for image in _images(stream, first_key, transform):
        yield image, random.random_raw(per_image)


def _images(stream: Stream, first_key: str | int, transform: pb.TransformationParameter) -> Iterator[Image]:
    """Yield the images of `stream` endlessly, from the record `first_key` on."""
    if isinstance(stream.files, Files):
        assert isinstance(first_key, int)
        yield from _listed_images(stream, stream.files, first_key)
    else:
        assert isinstance(first_key, str)
        excluded = {bytes.fromhex(str(key)) for key in stream.excluded}
        for key, value in _records(stream.source, first_key):
            if key not in excluded:
                yield decode(key, value, transform)


def _records(source: str, first_key: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values endlessly, from the first key (hex) on, in key order (Next in data_layer.cpp).

    Locked, as Caffe opens it (db_lmdb.cpp): a writer must not reuse pages that are being read.
    """
    key = bytes.fromhex(first_key)
    with lmdb.open(source, readonly=True, create=False) as environment, environment.begin() as transaction:
        cursor = transaction.cursor()
        if not cursor.set_key(key):
            raise ValueError(f"{source} has no record {printable(key)}")
        while True:
            yield cursor.item()
            if not cursor.next():
                cursor.first()


def _listed_images(stream: Stream, files: Files, first: int) -> Iterator[Image]:
    lines = list(parse_lines(Path(stream.source).read_bytes()))
    excluded = [int(number) for number in stream.excluded]
    epochs = Epochs(len(lines), files.seed if files.shuffled else None, excluded)
    for number in epochs.lines_from(files.skipped + first):
        yield read_file(*lines[number], files)
