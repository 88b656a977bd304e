"""Nets in which the tops of data layers keep what was filled in until the gradients are ready."""

from __future__ import annotations

from harness.worker.probes.blobs import source_layers
from harness.worker.pycaffe import Net

# Layers whose forward and backward passes write to no bottom's data, and whose tops share no memory with a bottom
# (Flatten, Reshape, and Slice and Concat of one blob do: a layer in place that follows would write there)
_READING = frozenset((
    "Accuracy", "ContrastiveLoss", "Convolution", "Deconvolution", "Eltwise", "Embed", "EuclideanLoss", "HingeLoss",
    "InfogainLoss", "InnerProduct", "LRN", "MultinomialLogisticLoss", "Pooling", "Power", "SigmoidCrossEntropyLoss",
    "Silence", "Softmax", "SoftmaxWithLoss",
))  # fmt: skip


def inputs_last(net: Net) -> bool:
    """Check that no layer changes the blobs that data layers fill, as far as the types of layers tell."""
    inputs = {top for number in source_layers(net) for top in net._top_ids(number)}
    for number, layer in enumerate(net.layers):
        bottoms, tops = set(net._bottom_ids(number)), set(net._top_ids(number))
        if not bottoms & inputs:
            continue
        if layer.type == "Split":
            inputs |= tops
        elif layer.type not in _READING or bottoms & tops:
            return False
    return True
