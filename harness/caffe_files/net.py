"""The nets that a solver file asks for, as Caffe would build them: which file, which phase, which layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.caffe_files.layer_types import SEEKABLE
from harness.caffe_files.messages import pb, read_text
from harness.errors import BadInput
from harness.schemas.layout import Head

# Translates a net in the format of Caffe before 2014 (`layers`), which only Caffe itself can.
Upgrade = Callable[[Path], Any]

# Layers whose first top has the shape of their first bottom, as far as the channel axis is concerned.
_SAME_CHANNELS = {
    *("ReLU", "PReLU", "ELU", "Sigmoid", "TanH", "BNLL", "AbsVal", "Power", "Exp", "Log", "Clip", "Swish", "Threshold"),
    *("Dropout", "BatchNorm", "Scale", "Bias", "MVN", "LRN", "Softmax", "Pooling", "Eltwise", "Split"),
}


@dataclass(frozen=True)
class NetFile:
    """One net: its message with only the layers that its state keeps, and where it was written (`source`)."""

    source: str
    param: Any  # NetParameter

    @property
    def layers(self) -> list[Any]:
        return list(self.param.layer)


def train_net(solver: Any, path: Path, upgrade: Upgrade) -> NetFile:
    """The train net of the solver message `solver` read from `path` (Solver::InitTrainNet, solver.cpp).

    Raises:
        BadInput: none or several are given; the file cannot be read.
    """
    fields = [f for f in ("net", "net_param", "train_net", "train_net_param") if solver.HasField(f)]
    if len(fields) != 1:
        raise BadInput(
            f"{'several train nets are' if fields else 'no train net is'} given",
            file=path,
            field=", ".join(fields) or "net",
            remedy="Give exactly one of net, net_param, train_net, train_net_param",
        )
    value = getattr(solver, fields[0])
    param, source = (read_net(value, path, fields[0], upgrade), value) if isinstance(value, str) else (value, f"{path}")
    return NetFile(source, keep_layers(param, _state(pb.TRAIN, param, solver.train_state)))


def test_nets(solver: Any, path: Path, upgrade: Upgrade) -> list[NetFile]:
    """The test nets, in Caffe's order (Solver::InitTestNets): test_net_param, test_net, then the shared net.

    Raises:
        BadInput: a file cannot be read; counts do not fit.
    """
    sources = [(str(path), p) for p in solver.test_net_param]
    sources += [(name, read_net(name, path, "test_net", upgrade)) for name in solver.test_net]
    remaining = len(solver.test_iter) - len(sources)
    if remaining < 0:
        raise BadInput(
            f"{len(sources)} test nets but {len(solver.test_iter)} test_iter",
            file=path,
            field="test_iter",
            remedy="Give one test_iter for each test net",
        )
    if remaining and (solver.HasField("net") or solver.HasField("net_param")):
        shared = read_net(solver.net, path, "net", upgrade) if solver.HasField("net") else solver.net_param
        sources += [(solver.net or str(path), shared)] * remaining
    elif remaining:
        raise BadInput(
            f"{len(solver.test_iter)} test_iter but {len(sources)} test nets",
            file=path,
            field="test_iter",
            remedy="Give one test_net for each test_iter, or one `net` for training and testing",
        )
    states = list(solver.test_state) or [pb.NetState()] * len(sources)
    if len(states) != len(sources):
        raise BadInput(
            f"{len(states)} test_state but {len(sources)} test nets",
            file=path,
            field="test_state",
            remedy="Give none, or one for each test net",
        )
    return [
        NetFile(source, keep_layers(param, _state(pb.TEST, param, state)))
        for (source, param), state in zip(sources, states, strict=True)
    ]


def read_net(name: str, solver: Path, field: str, upgrade: Upgrade) -> Any:
    """The NetParameter in the file `name`, which the solver file `solver` gives as `field`."""
    path = Path(name)
    if not path.exists():
        raise BadInput(
            f"no such net file; {solver} names it in `{field}`",
            file=path,
            remedy=f"Caffe resolves it from the current directory ({Path.cwd()}), not from the solver's: "
            "change the path, or run from the directory that it counts from",
        )
    net = read_text(path, pb.NetParameter, "net")
    return upgrade(path) if net.layers else net


def net_phase(number: int) -> str:
    """The phase, "TRAIN" or "TEST", of net `number` of a solver: 0 is the train net."""
    return "TEST" if number else "TRAIN"


def phase_of(layer: Any, net: str) -> str:
    """The phase of a layer in a net of phase `net`: its own where it has one (Net::Init)."""
    return str(pb.Phase.Name(layer.phase)) if layer.HasField("phase") else net


def _state(phase: pb.Phase.ValueType, param: pb.NetParameter, override: pb.NetState) -> pb.NetState:
    state = pb.NetState(phase=phase)
    state.MergeFrom(param.state)
    state.MergeFrom(override)
    return state


def keep_layers(param: Any, state: Any) -> Any:
    """`param` with the layers that `state` keeps (Net::FilterNet, net.cpp)."""
    kept = pb.NetParameter()
    kept.CopyFrom(param)
    del kept.layer[:]
    kept.layer.extend(layer for layer in param.layer if _included(layer, state))
    return kept


def _included(layer: Any, state: Any) -> bool:
    if layer.include:
        return any(_meets(state, rule) for rule in layer.include)
    return not any(_meets(state, rule) for rule in layer.exclude)


def _meets(state: Any, rule: Any) -> bool:
    return not (
        (rule.HasField("phase") and rule.phase != state.phase)
        or (rule.HasField("min_level") and state.level < rule.min_level)
        or (rule.HasField("max_level") and state.level > rule.max_level)
        or not set(rule.stage) <= set(state.stage)
        or set(rule.not_stage) & set(state.stage)
    )


def heads(net: NetFile) -> tuple[Head, ...]:
    """The losses of a net in its order, each with its weight in the total and, for a mean softmax loss, its classes."""
    found = []
    for position, layer in enumerate(net.layers):
        for top, name in enumerate(layer.top):
            weight = (
                layer.loss_weight[top] if top < len(layer.loss_weight) else float("Loss" in layer.type and top == 0)
            )
            if weight:
                softmax = layer.type in ("SoftmaxWithLoss", "MultinomialLogisticLoss", "InfogainLoss")
                mean = softmax and layer.bottom and _is_mean(net, position)
                classes = channels(net, position, layer.bottom[0]) if mean else None
                found.append(Head(name, weight, classes))
    return tuple(found)


def _is_mean(net: NetFile, position: int) -> bool:
    """Is the softmax loss at `position` the mean over what was predicted (get_normalizer in softmax_loss_layer.cpp)?

    By the size of the batch alone it is only where an InnerProduct layer predicts one thing an image.
    """
    layer = net.layers[position]
    loss = layer.loss_param
    normalization = loss.normalization
    if layer.type == "SoftmaxWithLoss" and loss.HasField("normalize") and not loss.HasField("normalization"):
        normalization = pb.LossParameter.VALID if loss.normalize else pb.LossParameter.BATCH_SIZE
    if normalization == pb.LossParameter.BATCH_SIZE:
        makers = [other.type for other in net.layers[:position] if layer.bottom[0] in other.top]
        return makers[-1:] == ["InnerProduct"]
    return bool(normalization != pb.LossParameter.NONE)


def relus(layers: Iterable[Any]) -> tuple[str, ...]:
    """The blobs that hold what a ReLU gave when the forward pass is over. Dropout in place leaves its zeros zero."""
    gave: dict[str, bool] = {}
    for layer in layers:
        for top in layer.top:
            kept = layer.type == "Dropout" and top in layer.bottom and gave.get(top, False)
            gave[top] = kept or (layer.type == "ReLU" and not layer.relu_param.negative_slope)
    return tuple(name for name, is_relu in gave.items() if is_relu)


def channels(net: NetFile, before: int, blob: str) -> int | None:
    """The size of axis 1 of `blob` as the layer at position `before` reads it; None where the prototxt does not say."""
    for position in range(before - 1, -1, -1):
        layer = net.layers[position]
        if blob not in layer.top:
            continue
        if layer.type == "InnerProduct":
            return int(layer.inner_product_param.num_output)
        if layer.type in ("Convolution", "Deconvolution"):
            return int(layer.convolution_param.num_output)
        if layer.type in _SAME_CHANNELS and layer.bottom:
            return channels(net, position, layer.bottom[0])
        return None
    return None


def data_layers(net: NetFile) -> list[Any]:
    """The Data and ImageData layers of a net, in its order."""
    return [layer for layer in net.layers if layer.type in SEEKABLE]


def data_param_of(layer: Any) -> Any:
    """The message that says what a data layer reads: `source`, `batch_size` and more."""
    return layer.image_data_param if layer.type == "ImageData" else layer.data_param
