"""The sizes of the weights of each layer when training began, compared with those of the others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.caffe_files.fillers import drawn_norm
from harness.caffe_files.messages import pb
from harness.recording import Recording
from harness.schemas.layout import Param

_UNLIKE = 1.5  # times as large, or as small, as those of other layers is unusual
_LEAST = 3  # layers that can be compared


def unusual_sizes(recording: Recording, net: pb.NetParameter) -> dict[str, float]:
    """Return the layers of a run whose weights were unusually large or small at its first iteration; see `compared`."""
    if not len(recording.iterations):
        return {}
    (norms,) = recording.stat("weight_l2", slice(0, 1)).values
    return compared(net, recording.params, norms.tolist())


def compared(net: pb.NetParameter, params: Sequence[Param], norms: Sequence[float]) -> dict[str, float]:
    """Return the layers whose weights are unusually large or small, and by which factor.

    Sizes are norms in relation to those that the layers' fillers draw; the usual one is the median of the layers. To
    rescale two layers against each other leaves what a net with ReLUs computes as it is, but not how it trains.

    Args:
        norms: of the param blobs `params`.
    """
    layers = {layer.name: layer for layer in net.layer}
    sizes = {}
    for param, norm in zip(params, norms, strict=True):
        drawn = drawn_norm(layers[param.layer], param.shape) if param.index == 0 and param.layer in layers else None
        if drawn and param.lr_mult and math.isfinite(norm):
            sizes[param.layer] = norm / drawn
    usual = float(np.median(list(sizes.values()))) if len(sizes) >= _LEAST else 0.0
    ratios = {layer: size / usual for layer, size in sizes.items() if size > 0} if usual > 0 else {}
    return {layer: ratio for layer, ratio in ratios.items() if ratio >= _UNLIKE or ratio <= 1 / _UNLIKE}
