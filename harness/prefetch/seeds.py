"""The seeds that data layers draw from Caffe's main generator when they are set up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.caffe_files.layer_types import IMAGES, ROWS, WINDOWS
from harness.caffe_files.messages import pb
from harness.caffe_files.net import data_param_of, net_phase, phase_of, same_layer
from harness.caffe_files.transformer_rng import draws_per_image, mt19937
from harness.schemas.data_position import StreamPosition, TrainingPosition


def first_place(net: int, index: int, layer: pb.LayerParameter, fingerprint: str = "") -> StreamPosition:
    """Return the position of a Data, ImageData or WindowData layer, number `index` of `net`, at its first record."""
    param = data_param_of(layer)
    transform, phase = layer.transform_param, phase_of(layer, net_phase(net))
    windowed = layer.type in WINDOWS
    return StreamPosition(
        net,
        layer.name,
        param.source,
        fingerprint,
        param.batch_size,
        1 + transform.mirror if windowed else draws_per_image(transform, phase),
        shuffle=layer.image_data_param.shuffle,
        rand_skip=layer.image_data_param.rand_skip,
        index=index,
        draws_its_seed_first=windowed and not draws_per_image(transform, phase),
    )


def with_seeds(point: TrainingPosition, built: pb.NetParameter, net: pb.NetParameter) -> TrainingPosition:
    """Complete `point` with the seeds that follow from the solver's: those of layers before which only data layers are.

    A layer behind one with a filler draws its seed after the filler, and only Caffe knows how many numbers that takes
    (worker/fast_forward.py).

    Args:
        point: its `places` have an index in `net`.
        built: the train net whose layers drew the seeds.
        net: the train net as it is now.
    """
    seeded = dict(_seeded(point, built, net))
    return replace(point, places=tuple(seeded.get(number, place) for number, place in enumerate(point.places)))


def _seeded(
    point: TrainingPosition, built: pb.NetParameter, net: pb.NetParameter
) -> Iterator[tuple[int, StreamPosition]]:
    places = {
        same_layer(built, net, place.index): (number, place)
        for number, place in enumerate(point.places)
        if place.net == 0 and place.index is not None
    }
    random = mt19937(point.seed, 0)
    for position, layer in enumerate(built.layer):
        if position in places:
            number, place = places[position]
            state = random.state
            yield number, place.seeded(lambda: int(random.random_raw()))
            random.state = state
        if layer.type in IMAGES + WINDOWS:  # which may have drawn otherwise than it would now
            first_place(0, position, layer).seeded(lambda: int(random.random_raw()))
            random.random_raw()  # for its thread (InternalThread::StartInternalThread, internal_thread.cpp)
        elif layer.type not in ROWS:
            return
