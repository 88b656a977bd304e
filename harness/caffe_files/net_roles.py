"""Find what blobs and layers of a net are for: labels, accuracies, and those before which nothing learns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.caffe_files.layer_names import automatic_losses, unique_names
from harness.caffe_files.layer_types import blob_count, param_specs
from harness.caffe_files.messages import parse_text, pb
from harness.schemas.layout import NetRoles

_CLASSIFIERS = (
    "SoftmaxWithLoss",
    "MultinomialLogisticLoss",
    "InfogainLoss",
    "HingeLoss",
)  # their second bottom: labels


def net_roles(net: pb.NetParameter) -> NetRoles:
    """Return the roles in a train net, which has the layers of its phase only."""
    layers = net.layer
    reached = _reached_by_gradients(layers)
    return NetRoles(
        labels=_labels(layers),
        idle=tuple(name for name, learns in zip(unique_names(layers), reached, strict=True) if not learns),
        fixed=_fixed(layers, reached),
    )


def accuracies(test_nets: Sequence[str]) -> tuple[str, ...]:
    """Return the outputs of the first of the test nets that are the better the higher they are.

    They are in the order of the net, but those that count only the best answer (top_k: 1) are behind the others.

    Args:
        test_nets: as run.json has them.
    """
    nets = [parse_text(text, pb.NetParameter, Path("run.json")) for text in test_nets[:1]]
    layers = [layer for net in nets for layer in net.layer if layer.type == "Accuracy" and layer.top]
    return tuple(layer.top[0] for layer in sorted(layers, key=lambda layer: layer.accuracy_param.top_k == 1))


def _labels(layers: Sequence[pb.LayerParameter]) -> tuple[str, ...]:
    """List the blobs that a data layer fills and a classifier's loss reads as labels."""
    filled = {top for layer in layers if not layer.bottom and layer.type != "Parameter" for top in layer.top}
    read = [layer.bottom[1] for layer in layers if layer.type in _CLASSIFIERS and len(layer.bottom) > 1]
    return tuple(dict.fromkeys(name for name in read if name in filled))


def _reached_by_gradients(layers: Sequence[pb.LayerParameter]) -> list[bool]:
    """Check which layers the gradient of a loss reaches (Net::Init, net.cpp: blobs_under_loss).

    It does not reach those above which there are losses of weight 0 only, or layers with propagate_down: false.
    """
    automatic = automatic_losses(layers)
    wanted: set[str] = set()  # blobs whose gradient a later layer gives
    reached = [False] * len(layers)
    for position in range(len(layers) - 1, -1, -1):
        layer = layers[position]
        weights = list(layer.loss_weight) or [float("Loss" in layer.type and bool(layer.top or position in automatic))]
        reached[position] = any(weights) or not wanted.isdisjoint(layer.top)
        wanted.difference_update(layer.top)  # before it, a blob of this name is another one
        if reached[position]:
            passes = [*layer.propagate_down, *[True] * len(layer.bottom)]
            wanted.update(bottom for bottom, down in zip(layer.bottom, passes, strict=False) if down)
    return reached


def _fixed(layers: Sequence[pb.LayerParameter], reached: Sequence[bool]) -> tuple[str, ...]:
    """List the blobs before which nothing learns: inputs, and what layers that never learn make of them."""
    moves: dict[str, bool] = {}
    for layer, gradient in zip(layers, reached, strict=True):
        moving = (gradient and _learns(layer)) or any(moves.get(bottom, False) for bottom in layer.bottom)
        moves |= dict.fromkeys(layer.top, moving)
    return tuple(name for name, moving in moves.items() if not moving)


def _learns(layer: pb.LayerParameter) -> bool:
    """Check whether a layer has a param blob with a learning rate."""
    specs, count = param_specs(layer), blob_count(layer)
    if count is None:  # as many as it has specs, at least
        return any(spec.lr_mult for spec in specs) or not specs
    return any(spec.lr_mult for spec in specs[:count]) or count > len(specs)
