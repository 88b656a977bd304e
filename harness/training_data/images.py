"""Read the records of Data and ImageData layers as the net saw them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from google.protobuf import text_format

from harness.caffe_files.messages import pb
from harness.prefetch.batches import drawn_images
from harness.prefetch.images import Transformer
from harness.schemas.stream import Files, Stream
from harness.training_data.class_names import ClassNames
from harness.training_data.records import LARGEST, LayerRecords, Record, RecordsUnknown


def read_images(
    stream: Stream, tops: list[str], count: int, names: ClassNames | None, begun: float | None
) -> LayerRecords:
    """Read the next `count` records of `stream`, whose paths count from the current directory.

    Args:
        tops: of the layer.
        begun: when the run began, in seconds since 1970; None if that is not known.

    Raises:
        RecordsUnknown: they would take too much memory.
        ValueError, OSError, lmdb.Error: as `fill_batches`.
    """
    records = tuple(_records(stream, count, names))
    inputs = {tops[0]: np.stack([r.values for r in records])} if len({r.values.shape for r in records}) == 1 else {}
    if stream.labels:
        inputs[tops[1]] = np.array([record.label for record in records], np.float32)
    later = tuple(_written_after(stream.files, records, begun)) if isinstance(stream.files, Files) else ()
    return LayerRecords(stream.layer, stream.source, records, inputs, later)


def _records(stream: Stream, count: int, names: ClassNames | None) -> Iterator[Record]:
    transform = text_format.Parse(stream.transform, pb.TransformationParameter())
    transformer = Transformer(transform, stream.phase)
    size = 0
    for image, draws in islice(drawn_images(stream, stream.first_key, stream.draws), count):
        values = np.empty(transformer.shape(image), np.float32)
        size += values.nbytes
        if size > LARGEST:
            raise RecordsUnknown(
                f"The {count:,} records of layer {stream.layer} would take more than {LARGEST >> 30} GiB: not read."
            )
        transformer(image, draws, values)
        place = transformer.placement(image, draws)
        yield Record(
            key=image.key,
            label=image.label if stream.labels else None,
            class_name=names[image.label] if names is not None and stream.labels else None,
            crop=(place.top, place.left) if transform.crop_size else None,
            mirrored=place.mirrored,
            values=values,
        )


def _written_after(files: Files, records: tuple[Record, ...], begun: float | None) -> Iterator[str]:
    """Yield the files that were written after the run had begun: they may have been other images then."""
    for key in dict.fromkeys(record.key for record in records):
        path = Path(files.directory, files.root + key)
        try:
            if begun is not None and path.stat().st_mtime > begun:
                yield str(path)
        except OSError:  # a path that is not valid as text
            yield str(path)
