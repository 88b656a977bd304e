"""The stream that a data layer reads from a position on."""

from __future__ import annotations

import numpy as np
from google.protobuf import text_format

from harness.caffe_files.layer_types import WINDOWS
from harness.caffe_files.lmdb_file import Records
from harness.caffe_files.messages import pb
from harness.caffe_files.net import net_phase, phase_of
from harness.prefetch.epochs import Epochs
from harness.schemas.data_position import StreamPosition
from harness.schemas.stream import Files, Jump, Stream, Windows


def stream_of(layer: pb.LayerParameter, place: StreamPosition, records: Records | None) -> Stream:
    """Return the stream of `layer` from `place` on; seeds that are not known yet are None.

    `records` are those of its source, if that is an LMDB or a list of images.
    """
    beyond = place.after(place.skip_at) if place.skip else None
    return Stream(
        layer=place.layer,
        source=place.source,
        first_key=_key(layer, place, records),
        batch_size=place.batch_size,
        phase=phase_of(layer, net_phase(place.net)),
        transform=text_format.MessageToString(layer.transform_param),
        seed=place.seed,
        draws=place.draws,
        labels=len(layer.top) > 1,
        prefetch=layer.data_param.prefetch,
        jump=Jump(place.skip_at, _key(layer, beyond, records), beyond.draws) if beyond else None,
        files=_files(layer),
        net=place.net,
        index=place.index or 0,
        excluded=tuple(_name(layer, number, records) for number in place.excluded),
    )


def _key(layer: pb.LayerParameter, place: StreamPosition, records: Records | None) -> str | int:
    if layer.type != "Data":
        return place.records
    assert records is not None
    epochs = Epochs(len(records), None, place.excluded)
    (number,) = epochs.lines(np.array([place.records]))
    return _name(layer, int(number), records)


def _name(layer: pb.LayerParameter, number: int, records: Records | None) -> str | int:
    """Return how a Stream names record `number`: by its key in an LMDB, by its number in a list."""
    if layer.type != "Data":
        return number
    assert records is not None
    return bytes(records.keys[number]).hex()


def _files(layer: pb.LayerParameter) -> Files | Windows | None:
    if layer.type == "Data":
        return None
    if layer.type in WINDOWS:
        return Windows(text_format.MessageToString(layer.window_data_param))
    param = layer.image_data_param
    return Files(param.root_folder, param.is_color, param.new_height, param.new_width, param.shuffle)
