"""The streams that the data layers of a training read from its position on."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf import text_format

from harness.caffe_files.layer_types import WINDOWS
from harness.caffe_files.lmdb_file import Records
from harness.caffe_files.messages import pb
from harness.caffe_files.net import net_phase, phase_of
from harness.caffe_files.sources import Sources
from harness.schemas.data_position import StreamPosition, TrainingPosition
from harness.schemas.stream import Files, Jump, RowsStream, Stream, Windows
from harness.supervisor.positions import is_positioned
from harness.supervisor.training_spec import TrainingSpec


def streams_of(spec: TrainingSpec, point: TrainingPosition, sources: Sources) -> tuple[Stream, ...]:
    """Return the streams that the layers read from `point` on; seeds that are not known yet are None.

    Nets with an input that cannot be positioned keep their own layers.
    """
    streams = []
    for place in point.places:
        assert place.index is not None
        if not is_positioned(spec.nets[place.net]):
            continue
        layer = spec.nets[place.net].layers[place.index]
        beyond = place.after(place.skip_at) if place.skip else None
        streams.append(
            Stream(
                layer=place.layer,
                source=place.source,
                first_key=_key(layer, place, sources.images),
                batch_size=place.batch_size,
                phase=phase_of(layer, net_phase(place.net)),
                transform=text_format.MessageToString(layer.transform_param),
                seed=place.seed,
                draws=place.draws,
                labels=len(layer.top) > 1,
                prefetch=layer.data_param.prefetch,
                jump=Jump(place.skip_at, _key(layer, beyond, sources.images), beyond.draws) if beyond else None,
                files=_files(layer),
                net=place.net,
                index=place.index,
            )
        )
    return tuple(streams)


def _key(layer: pb.LayerParameter, place: StreamPosition, records: Mapping[str, Records]) -> str | int:
    if layer.type != "Data":
        return place.records
    keys = records[place.source].keys
    return bytes(keys[place.records % len(keys)]).hex()


def _files(layer: pb.LayerParameter) -> Files | Windows | None:
    if layer.type == "Data":
        return None
    if layer.type in WINDOWS:
        return Windows(text_format.MessageToString(layer.window_data_param))
    param = layer.image_data_param
    return Files(param.root_folder, param.is_color, param.new_height, param.new_width, param.shuffle)


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
