"""Names of layers and losses under which they are recorded: unique, which Caffe does not require of layers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness.caffe_files.messages import pb

# Layers to which Caffe adds a top where the net names none (AutoTopBlobs, loss_layer.hpp).
_LOSSES = (
    *("SoftmaxWithLoss", "EuclideanLoss", "HingeLoss", "SigmoidCrossEntropyLoss", "InfogainLoss"),
    *("MultinomialLogisticLoss", "ContrastiveLoss"),
)


def unique_names(layers: Sequence[pb.LayerParameter]) -> list[str]:
    """Return the names of `layers`; the second layer `ip` is `ip#2`, the second without a name `#2`, and so on."""
    taken = {layer.name for layer in layers}
    seen: set[str] = set()
    names = []
    for layer in layers:
        name = layer.name if layer.name not in seen else _numbered(layer.name, taken)
        taken.add(name)
        seen.add(layer.name)
        names.append(name)
    return names


def _numbered(name: str, taken: Collection[str]) -> str:
    number = 2
    while f"{name}#{number}" in taken:
        number += 1
    return f"{name}#{number}"


def automatic_losses(layers: Sequence[pb.LayerParameter]) -> dict[int, str]:
    """Name the top that Caffe adds to each loss layer without one, by the position of the layer: after its layer.

    Caffe calls all of them "(automatic)", and prints none (Net::AppendTop, net.cpp).
    """
    taken = {top for layer in layers for top in layer.top}
    found: dict[int, str] = {}
    for position, name in enumerate(unique_names(layers)):
        if layers[position].type in _LOSSES and not layers[position].top:
            found[position] = _numbered(name, taken) if name in taken else name
            taken.add(found[position])
    return found
