"""The streams that the data layers of a training read from its position on."""

from __future__ import annotations

from harness.caffe_files.sources import Sources
from harness.prefetch.streams import stream_of
from harness.schemas.data_position import TrainingPosition
from harness.schemas.stream import RowsStream, Stream
from harness.supervisor.positions import is_positioned
from harness.supervisor.training_spec import TrainingSpec


def streams_of(spec: TrainingSpec, point: TrainingPosition, sources: Sources) -> tuple[Stream, ...]:
    """Return the streams that the layers read from `point` on; seeds that are not known yet are None.

    Nets with an input that cannot be positioned keep their own layers.
    """
    streams = []
    for place in point.places:
        assert place.index is not None
        net = spec.nets[place.net]
        if is_positioned(net):
            streams.append(stream_of(net.layers[place.index], place, sources.images.get(place.source)))
    return tuple(streams)


def rows_of(spec: TrainingSpec, point: TrainingPosition, sources: Sources) -> tuple[RowsStream, ...]:
    """Return the rows that the HDF5Data layers read from `point` on."""
    return tuple(
        RowsStream(
            position=place,
            files=sources.rows[place.source].names,
            tops=tuple(spec.nets[place.net].layers[place.index].top),
        )
        for place in point.rows
        if is_positioned(spec.nets[place.net])
    )
