"""Change the weights, and the history, that an arm starts with."""

from __future__ import annotations

import numpy as np

from harness.caffe_files.caffemodel import HISTORIES
from harness.caffe_files.transformer_rng import mt19937
from harness.schemas.arm import Arm, HistoryScaled, LayerRedrawn, WeightsJittered, WeightsLimited, WeightsScaled
from harness.schemas.layout import Param
from harness.worker.arms.checkpoint import Misfit
from harness.worker.probes.blobs import ParamProbe
from harness.worker.pycaffe import Floats


def change_weights(arm: Arm, params: ParamProbe, drawn: ParamProbe | None) -> None:
    """Make those changes of an arm that concern the weights at its start, in their order.

    Args:
        params: of its solver.
        drawn: of a solver that was just built with the arm's seed; needed where a layer is redrawn.

    Raises:
        Misfit: a layer has no such param blobs.
    """
    for change in arm.changes:
        match change:
            case WeightsJittered():
                random = mt19937(arm.seed, 0)
                for p, blob in zip(params.params, params.blobs, strict=True):
                    if p.lr_mult:
                        blob.data[...] = _jittered(blob.data, change.amount, random)
            case WeightsLimited():
                for position in own_params(params.params, change.layer, change.index):
                    blob = params.blobs[position]
                    blob.data[...] = _limited(blob.data, change.limit)
            case WeightsScaled():
                for position in own_params(params.params, change.layer, change.index):
                    params.blobs[position].data[...] *= np.float32(change.factor)
            case LayerRedrawn():
                assert drawn is not None
                for position in own_params(params.params, change.layer):
                    params.blobs[position].data[...] = drawn.blobs[position].data
            case _:
                pass


def history_factors(arm: Arm, params: ParamProbe, kind: str) -> dict[int, float]:
    """Return the factors by which `arm` multiplies blobs of the history, in the order of a solver of type `kind`.

    Raises:
        Misfit: as above.
    """
    everything = range(len(params.params))
    factors: dict[int, float] = {}
    for change in arm.changes:
        match change:
            case HistoryScaled(factor=factor, layer=layer):
                positions = everything if layer is None else own_params(params.params, layer)
            case LayerRedrawn(layer=layer):
                factor, positions = 0.0, own_params(params.params, layer)
            case _:
                continue
        for slot in range(HISTORIES[kind]):
            for position in positions:
                blob = slot * len(params.params) + position
                factors[blob] = factors.get(blob, 1.0) * factor
    return factors


def own_params(params: tuple[Param, ...], layer: str, index: int | None = None) -> list[int]:
    """Return the positions of a layer's param blobs, or of one of them, among the learnable ones.

    Raises:
        Misfit: there are none; a blob that layers share is that of the first one.
    """
    found = [n for n, param in enumerate(params) if param.layer == layer and index in (None, param.index)]
    if not found:
        which = "no param blob" if index is None else f"no param blob {index}"
        raise Misfit(f"layer {layer} has {which} of its own that could be changed")
    return found


def _jittered(weights: Floats, amount: float, random: np.random.MT19937) -> Floats:
    """Multiply each weight by a number drawn uniformly between 1 - `amount` and 1 + `amount`."""
    drawn = random.random_raw(weights.size).astype(np.float64) / 2**32
    return (weights * (1 + amount * (2 * drawn - 1)).reshape(weights.shape)).astype(np.float32)


def _limited(weights: Floats, limit: float) -> Floats:
    limited = np.clip(weights, np.float32(-limit), np.float32(limit))
    return np.where(np.isnan(limited), np.float32(0), limited)
