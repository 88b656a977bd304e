"""Find the record at which Caffe died: those that it was about to read are read again, as it would.

Caffe's own message names the check that failed, and neither the record nor the data set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import lmdb
from google.protobuf import text_format

from harness.caffe_files.image_list import open_list
from harness.caffe_files.layer_types import IMAGES
from harness.caffe_files.lmdb_file import open_records
from harness.caffe_files.messages import pb
from harness.caffe_files.net import net_phase
from harness.caffe_files.passes import schedule
from harness.errors import BadInput
from harness.prefetch.positions import moved
from harness.prefetch.seeds import with_seeds
from harness.prefetch.streams import stream_of
from harness.schemas.data_position import StreamPosition
from harness.schemas.stream import Stream
from harness.supervisor.apart import call_apart
from harness.supervisor.plan import Plan

_MOST = 4000  # records of a layer that are read again
# what Caffe, or OpenCV, says where it reads or transforms an image
_ABOUT_IMAGES = re.compile(r"data_transformer\.[ch]pp|image_data_layer\.cpp|/?io\.[ch]pp|OpenCV|imdecode|cv::")


@dataclass(frozen=True)
class _Reading:
    """What a layer was about to read: `count` records of `stream`, `pass_size` of them in an iteration."""

    stream: Stream
    count: int
    pass_size: int


def unusable_record(plan: Plan, last: int, said: Sequence[str]) -> str | None:
    """Name a record that cannot be read, of those that the data layers were about to read; None if there is none.

    Args:
        last: the last iteration that was made; one before the first if there is none.
        said: what Caffe printed last.
    """
    if not any(_ABOUT_IMAGES.search(line) for line in said):
        return None
    readings = [reading for place in _places(plan, last + 1) if (reading := _reading(plan, place)) is not None]
    for reading in readings:
        found = call_apart(_first_unusable, reading)
        if found is not None:
            number, problem = found
            net, at = reading.stream.net, last + 1 + number // reading.pass_size
            when = f"at iteration {at}" if net == 0 else f"in a test pass (test net #{net - 1})"
            return f"{reading.stream.source}: {problem}; layer {reading.stream.layer} reads it {when}"
    return None


def _places(plan: Plan, iteration: int) -> Sequence[StreamPosition]:
    """Return where the data layers stood before `iteration`, with the seeds that Caffe has drawn, if they are known."""
    point, train = plan.info.point, plan.spec.train.param
    if plan.first == 0 and not any(place.skip for place in point.places):
        point = with_seeds(point, train, train)
    return moved(point, schedule(plan.solver, plan.first, iteration)).places


def _reading(plan: Plan, place: StreamPosition) -> _Reading | None:
    """Return what the layer at `place` was about to read; None if its order is not known."""
    layer = plan.spec.nets[place.net].layers[place.index or 0]
    if layer.type not in IMAGES or (place.shuffle and place.list_seed is None):
        return None
    if place.rand_skip and place.skipped is None:
        return None
    try:
        source = Path(place.source)
        records = open_records(source) if layer.type == "Data" else open_list(source)
    except BadInput:  # it has changed meanwhile
        return None
    stream = stream_of(layer, place, records)
    if layer.type == "ImageData":
        stream = stream.seeded(place.seed, place.list_seed, place.skipped or 0)
    passes = plan.solver.iter_size if net_phase(place.net) == "TRAIN" else plan.solver.test_iter[place.net - 1]
    ahead = layer.data_param.prefetch + 2  # batches: those that wait, one that is made, and one that is used
    count = (passes + ahead) * place.batch_size
    return _Reading(stream, min(count, _MOST), plan.solver.iter_size * place.batch_size)


def _first_unusable(reading: _Reading) -> tuple[int, str] | None:
    """Return the number, from 0, of the first record that Caffe could not use, and why; None if there is none."""
    from harness.prefetch.batches import drawn_images  # here: in the process that may crash
    from harness.prefetch.images import Transformer

    stream, number = reading.stream, 0
    try:
        transformer = Transformer(text_format.Parse(stream.transform, pb.TransformationParameter()), stream.phase)
        for image, _ in islice(drawn_images(stream, stream.first_key, stream.draws), reading.count):
            transformer.shape(image)
            number += 1
    except ValueError as error:
        return number, str(error)
    except (OSError, lmdb.Error):
        return None
    return None
