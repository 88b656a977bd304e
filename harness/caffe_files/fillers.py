"""The size of weights as Caffe's fillers draw them (filler.hpp)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.caffe_files.messages import pb


def drawn_norm(layer: pb.LayerParameter, shape: Sequence[int]) -> float | None:
    """Return the l2 norm that the first param blob of a layer, of that shape, has on average as its filler draws it.

    None for fillers that draw nothing, or something else than independent numbers, and for layers without a filler of
    weights.
    """
    filler = _weight_filler(layer)
    square = None if filler is None or not shape else _mean_square(filler, shape)
    return math.sqrt(math.prod(shape) * square) if square else None


def _weight_filler(layer: pb.LayerParameter) -> pb.FillerParameter | None:
    for field, values in layer.ListFields():
        if field.message_type is not None and "weight_filler" in field.message_type.fields_by_name:
            found: pb.FillerParameter = values.weight_filler
            return found
    return None


def _mean_square(filler: pb.FillerParameter, shape: Sequence[int]) -> float | None:
    """Return the mean of the squares of what a filler draws."""
    match filler.type:
        case "uniform":
            return (filler.min**2 + filler.min * filler.max + filler.max**2) / 3
        case "gaussian" if filler.sparse < 0:
            return float(filler.mean**2 + filler.std**2)
        case "xavier":
            return 1 / _fan(filler, shape)
        case "msra":
            return 2 / _fan(filler, shape)
        case _:
            return None


def _fan(filler: pb.FillerParameter, shape: Sequence[int]) -> float:
    """Return the n of XavierFiller and MSRAFiller: the inputs of a unit, its outputs, or their mean."""
    count = math.prod(shape)
    inputs, outputs = count / shape[0], count / shape[1] if len(shape) > 1 else count
    match filler.variance_norm:
        case pb.FillerParameter.FAN_OUT:
            return outputs
        case pb.FillerParameter.AVERAGE:
            return (inputs + outputs) / 2
        case _:
            return inputs
