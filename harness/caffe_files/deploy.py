"""The deploy net of a train net: its layers up to what its softmax losses read, on Input layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.caffe_files.messages import pb
from harness.caffe_files.net import NetFile, heads


@dataclass(frozen=True)
class SoftmaxHead:
    """A SoftmaxWithLoss layer of a train net: the name of its loss, its weight in the total, and what it reads."""

    name: str
    weight: float
    logits: str
    labels: str
    axis: int
    ignore_label: int | None


@dataclass(frozen=True)
class DeployNet:
    """`param` is a NetParameter without rules or phases; `inputs` are the tops of its Input layers.

    `owners` says which blob (layer, index) of the train net a blob of that net has its values from, where that is
    another one: the first that has the same name (Net::AppendParam, net.cpp).
    """

    param: Any
    heads: tuple[SoftmaxHead, ...]
    inputs: tuple[str, ...]
    owners: dict[tuple[str, int], tuple[str, int]]


def deploy_net(train: NetFile, shape: Callable[[str], tuple[int, ...]]) -> DeployNet:
    """What `train`, a net with only the layers of its phase, needs for its softmax heads. `shape` tells that of a top
    of a layer without a bottom, and is asked for those that are needed.

    Left out are the losses and whatever else hangs on the net, for instance a layer of the user's own that is gone.
    A head that reads a blob reads its last state: Caffe refuses a net in which a layer changes a blob in place that
    another layer reads as it was before (InsertSplits gives the two other names, and Net::AppendTop refuses the second
    maker of a blob).
    """
    weights = {head.name: head.weight for head in heads(train)}
    found: list[SoftmaxHead] = []
    needed: set[int] = set()
    makers: dict[str, int] = {}  # of each blob, as it stands when a layer reads it
    behind: list[set[int]] = []  # each layer, and all that it depends on
    for position, layer in enumerate(train.layers):
        behind.append({position}.union(*(behind[makers[b]] for b in layer.bottom if b in makers)))
        makers.update(dict.fromkeys(layer.top, position))
        if layer.type == "SoftmaxWithLoss" and layer.top and layer.top[0] in weights:
            found.append(_head(layer, weights[layer.top[0]]))
            needed |= behind[position] - {position}
    param = pb.NetParameter(name=train.param.name, input=train.param.input, input_shape=train.param.input_shape)
    param.input_dim.extend(train.param.input_dim)
    inputs: list[str] = []
    for position in sorted(needed):
        layer = param.layer.add()
        layer.CopyFrom(train.layers[position])
        for field in ("include", "exclude", "phase"):
            layer.ClearField(field)
        if not layer.bottom and layer.type != "Parameter":
            _feed(layer, shape)
            inputs += layer.top
        elif layer.type == "BatchNorm":  # one that is told to normalise by the batch would do so in TEST phase, too
            layer.batch_norm_param.ClearField("use_global_stats")
    return DeployNet(param, tuple(found), tuple(inputs), _owners(train))


def _head(layer: Any, weight: float) -> SoftmaxHead:
    ignored = layer.loss_param.ignore_label if layer.loss_param.HasField("ignore_label") else None
    return SoftmaxHead(layer.top[0], weight, layer.bottom[0], layer.bottom[1], layer.softmax_param.axis, ignored)


def _feed(layer: Any, shape: Callable[[str], tuple[int, ...]]) -> None:
    """Make an Input layer of a data layer."""
    name, tops = layer.name, list(layer.top)
    layer.Clear()
    layer.name, layer.type = name, "Input"
    layer.top.extend(tops)
    for top in tops:
        layer.input_param.shape.add().dim.extend(shape(top))


def _owners(train: NetFile) -> dict[tuple[str, int], tuple[str, int]]:
    first: dict[str, tuple[str, int]] = {}
    return {
        (layer.name, index): first.setdefault(spec.name, (layer.name, index))
        for layer in train.layers
        for index, spec in enumerate(layer.param)
        if spec.name
    }
