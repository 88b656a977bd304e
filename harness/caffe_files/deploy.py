"""Derive the deploy net of a train net: the layers that its softmax losses depend on, on Input layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.caffe_files.layer_names import automatic_losses, unique_names
from harness.caffe_files.messages import pb
from harness.caffe_files.net import NetFile, heads


@dataclass(frozen=True)
class SoftmaxHead:
    """A SoftmaxWithLoss layer of a train net; `logits` and `labels` are the blobs that it reads."""

    name: str  # of its loss
    weight: float  # in the total loss
    logits: str
    labels: str
    axis: int
    ignore_label: int | None


@dataclass(frozen=True)
class DeployNet:
    """A net for inference. `param` has no phases, no include or exclude rules, and the recorded names of its layers.

    Attributes:
        inputs: the tops of its Input layers.
        owners: for every named param blob (layer, index) of the train net, the blob that owns its values: the first
            one with that name (Net::AppendParam, net.cpp).
    """

    param: pb.NetParameter
    heads: tuple[SoftmaxHead, ...]
    inputs: tuple[str, ...]
    owners: dict[tuple[str, int], tuple[str, int]]


def deploy_net(train: NetFile, shape: Callable[[str], tuple[int, ...]]) -> DeployNet:
    """Build the deploy net of `train`, which has only the layers of its phase, for its softmax heads.

    Losses are left out, and so is every layer that no head depends on, such as a Python layer that is no longer
    installed. A head that reads a blob reads its last state: Caffe rejects a net in which a layer changes a blob in
    place that another layer reads in its earlier state (InsertSplits renames the two, and Net::AppendTop rejects a
    blob with two producers).

    Args:
        shape: returns the shape of a top of a layer without a bottom; called only for the layers needed.
    """
    weights = {head.name: head.weight for head in heads(train)}
    names, losses = unique_names(train.layers), automatic_losses(train.layers)
    found: list[SoftmaxHead] = []
    needed: set[int] = set()
    producers: dict[str, int] = {}  # blob → the last layer so far that writes it
    dependencies: list[set[int]] = []  # of each layer, itself included
    for position, layer in enumerate(train.layers):
        dependencies.append({position}.union(*(dependencies[producers[b]] for b in layer.bottom if b in producers)))
        producers.update(dict.fromkeys(layer.top, position))
        loss = losses.get(position, layer.top[0] if layer.top else "")
        if layer.type == "SoftmaxWithLoss" and loss in weights:
            found.append(_head(layer, loss, weights[loss]))
            needed |= dependencies[position] - {position}
    param = pb.NetParameter(name=train.param.name, input=train.param.input, input_shape=train.param.input_shape)
    param.input_dim.extend(train.param.input_dim)
    inputs: list[str] = []
    for position in sorted(needed):
        layer = param.layer.add()
        layer.CopyFrom(train.layers[position])
        layer.name = names[position]
        layer.ClearField("include")
        layer.ClearField("exclude")
        layer.ClearField("phase")
        if not layer.bottom and layer.type != "Parameter":
            _make_input(layer, shape)
            inputs += layer.top
        elif layer.type == "BatchNorm":  # use_global_stats: false would normalise by the batch in TEST phase, too
            layer.batch_norm_param.ClearField("use_global_stats")
    return DeployNet(param, tuple(found), tuple(inputs), _owners(train))


def _head(layer: pb.LayerParameter, loss: str, weight: float) -> SoftmaxHead:
    ignored = layer.loss_param.ignore_label if layer.loss_param.HasField("ignore_label") else None
    return SoftmaxHead(loss, weight, layer.bottom[0], layer.bottom[1], layer.softmax_param.axis, ignored)


def _make_input(layer: pb.LayerParameter, shape: Callable[[str], tuple[int, ...]]) -> None:
    """Turn a data layer into an Input layer."""
    name, tops = layer.name, list(layer.top)
    layer.Clear()
    layer.name, layer.type = name, "Input"
    layer.top.extend(tops)
    for top in tops:
        layer.input_param.shape.add().dim.extend(shape(top))


def _owners(train: NetFile) -> dict[tuple[str, int], tuple[str, int]]:
    first: dict[str, tuple[str, int]] = {}
    return {
        (name, index): first.setdefault(spec.name, (name, index))
        for name, layer in zip(unique_names(train.layers), train.layers, strict=True)
        for index, spec in enumerate(layer.param)
        if spec.name
    }
