"""Find the nets of a solver as Caffe would build them: the file, the phase, and the layers that the phase keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.caffe_files.layer_names import automatic_losses
from harness.caffe_files.layer_types import IMAGES
from harness.caffe_files.messages import has_field, pb, read_text
from harness.caffe_files.paths import exists
from harness.errors import BadInput
from harness.schemas.layout import Head

# Converts a net file in the format before 2014 (`layers`), which only Caffe itself can do.
Upgrade = Callable[[Path], pb.NetParameter]

# Layers whose first top has as many channels as their first bottom.
_SAME_CHANNELS = {
    *("ReLU", "PReLU", "ELU", "Sigmoid", "TanH", "BNLL", "AbsVal", "Power", "Exp", "Log", "Clip", "Swish", "Threshold"),
    *("Dropout", "BatchNorm", "Scale", "Bias", "MVN", "LRN", "Softmax", "Pooling", "Eltwise", "Split"),
}


@dataclass(frozen=True)
class NetFile:
    """A net with only the layers that its state keeps; `source` is the file it was read from."""

    source: str
    param: pb.NetParameter

    @property
    def layers(self) -> list[pb.LayerParameter]:
        return list(self.param.layer)


def train_net(solver: pb.SolverParameter, path: Path, upgrade: Upgrade) -> NetFile:
    """Read the train net of `solver`, which was read from `path` (Solver::InitTrainNet, solver.cpp).

    Raises:
        BadInput: no or several train nets are given; the file cannot be read.
    """
    fields = [f for f in ("net", "net_param", "train_net", "train_net_param") if has_field(solver, f)]
    if len(fields) != 1:
        raise BadInput(
            f"{'several train nets are' if fields else 'no train net is'} given",
            file=path,
            field=", ".join(fields) or "net",
            remedy="Give exactly one of net, net_param, train_net, train_net_param",
        )
    value: str | pb.NetParameter = getattr(solver, fields[0])
    param, source = (read_net(value, path, fields[0], upgrade), value) if isinstance(value, str) else (value, f"{path}")
    return NetFile(source, layers_in_state(param, pb.TRAIN, solver.train_state))


def test_nets(solver: pb.SolverParameter, path: Path, upgrade: Upgrade) -> list[NetFile]:
    """Read the test nets in Caffe's order (Solver::InitTestNets): test_net_param, test_net, then the shared net.

    Raises:
        BadInput: a file cannot be read; the numbers of test nets, test_iter and test_state differ.
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
        NetFile(source, layers_in_state(param, pb.TEST, state))
        for (source, param), state in zip(sources, states, strict=True)
    ]


def read_net(name: str, solver: Path, field: str, upgrade: Upgrade) -> pb.NetParameter:
    """Read the net file `name`, which the solver file `solver` names in `field`.

    Raises:
        BadInput: no such file, or it cannot be read.
    """
    path = Path(name)
    if not exists(path):
        raise BadInput(
            f"no such net file; {solver} names it in `{field}`",
            file=path,
            remedy=f"Caffe resolves it from the current directory ({Path.cwd()}), not from the solver's: "
            "change the path, or run from the directory to which it is relative",
        )
    net = read_text(path, pb.NetParameter, "net")
    return upgrade(path) if net.layers else net


def net_phase(number: int) -> str:
    """Return the phase, "TRAIN" or "TEST", of net `number` of a solver: 0 is the train net."""
    return "TEST" if number else "TRAIN"


def phase_of(layer: pb.LayerParameter, net: str) -> str:
    """Return the phase of a layer in a net of phase `net`: its own if it has one (Net::Init)."""
    return pb.Phase.Name(layer.phase) if layer.HasField("phase") else net


def layers_in_state(param: pb.NetParameter, phase: pb.Phase.ValueType, override: pb.NetState) -> pb.NetParameter:
    """Copy `param` with only the layers that a solver keeps; `override` is its train_state, or a test_state."""
    state = pb.NetState(phase=phase)
    state.MergeFrom(param.state)
    state.MergeFrom(override)
    return keep_layers(param, state)


def keep_layers(param: pb.NetParameter, state: pb.NetState) -> pb.NetParameter:
    """Copy `param` with only the layers that `state` keeps (Net::FilterNet, net.cpp)."""
    kept = pb.NetParameter()
    kept.CopyFrom(param)
    del kept.layer[:]
    kept.layer.extend(layer for layer in param.layer if _included(layer, state))
    return kept


def _included(layer: pb.LayerParameter, state: pb.NetState) -> bool:
    if layer.include:
        return any(_meets(state, rule) for rule in layer.include)
    return not any(_meets(state, rule) for rule in layer.exclude)


def _meets(state: pb.NetState, rule: pb.NetStateRule) -> bool:
    """Check whether the state meets an include or exclude rule (Net::StateMeetsRule)."""
    return not (
        (rule.HasField("phase") and rule.phase != state.phase)
        or (rule.HasField("min_level") and state.level < rule.min_level)
        or (rule.HasField("max_level") and state.level > rule.max_level)
        or not set(rule.stage) <= set(state.stage)
        or set(rule.not_stage) & set(state.stage)
    )


def heads(net: NetFile) -> tuple[Head, ...]:
    """List the losses of a net in its order, each with its weight in the total loss, by the names of their blobs.

    A loss layer without a top has one from Caffe, which is listed under the layer's name.

    A softmax loss that is a mean also has its number of classes: its chance level is known.
    """
    found = []
    automatic = automatic_losses(net.layers)
    for position, layer in enumerate(net.layers):
        for top, name in enumerate([automatic[position]] if position in automatic else layer.top):
            weight = (
                layer.loss_weight[top] if top < len(layer.loss_weight) else float("Loss" in layer.type and top == 0)
            )
            if weight:
                softmax = layer.type in ("SoftmaxWithLoss", "MultinomialLogisticLoss", "InfogainLoss")
                mean = softmax and layer.bottom and _is_mean(net, position)
                classes = class_count(net, position) if mean else None
                found.append(Head(name, weight, classes))
    return tuple(found)


def _is_mean(net: NetFile, position: int) -> bool:
    """Check whether the softmax loss at `position` is a mean over its predictions.

    See get_normalizer in softmax_loss_layer.cpp. A loss that is normalised by the batch size is such a mean only if an
    InnerProduct layer makes one prediction for each image.
    """
    layer = net.layers[position]
    loss = layer.loss_param
    normalization = loss.normalization
    if layer.type == "SoftmaxWithLoss" and loss.HasField("normalize") and not loss.HasField("normalization"):
        normalization = pb.LossParameter.VALID if loss.normalize else pb.LossParameter.BATCH_SIZE
    if normalization == pb.LossParameter.BATCH_SIZE:
        producers = [other.type for other in net.layers[:position] if layer.bottom[0] in other.top]
        return producers[-1:] == ["InnerProduct"]
    return normalization != pb.LossParameter.NONE


def relus(layers: Iterable[pb.LayerParameter]) -> tuple[str, ...]:
    """List the blobs that hold the output of a ReLU at the end of the forward pass.

    A dropout layer may follow in place: the zeros of the ReLU stay zero.
    """
    is_relu: dict[str, bool] = {}
    for layer in layers:
        for top in layer.top:
            kept = layer.type == "Dropout" and top in layer.bottom and is_relu.get(top, False)
            is_relu[top] = kept or (layer.type == "ReLU" and not layer.relu_param.negative_slope)
    return tuple(name for name, holds in is_relu.items() if holds)


def class_count(net: NetFile, position: int) -> int | None:
    """Return the number of classes of the loss or Accuracy at `position`; None if the net does not say."""
    layer = net.layers[position]
    axis = {
        "SoftmaxWithLoss": layer.softmax_param.axis,
        "InfogainLoss": layer.infogain_loss_param.axis,
        "Accuracy": layer.accuracy_param.axis,
    }.get(layer.type, 1)
    return channels(net, position, layer.bottom[0]) if axis == 1 else None


def channels(net: NetFile, before: int, blob: str) -> int | None:
    """Return the size of axis 1 of `blob` as the layer at position `before` reads it; None if the net does not say."""
    for position in range(before - 1, -1, -1):
        layer = net.layers[position]
        if blob not in layer.top:
            continue
        if layer.type == "InnerProduct":  # num_output is 0 where it is not given: no net can be built
            return layer.inner_product_param.num_output or None if layer.inner_product_param.axis == 1 else None
        if layer.type in ("Convolution", "Deconvolution"):
            return layer.convolution_param.num_output or None if layer.convolution_param.axis == 1 else None
        if layer.type in _SAME_CHANNELS and layer.bottom:
            return channels(net, position, layer.bottom[0])
        return None
    return None


def data_layers(net: NetFile) -> list[pb.LayerParameter]:
    """List the Data and ImageData layers of a net, in its order."""
    return [layer for _, layer in numbered_layers(net, IMAGES)]


def numbered_layers(net: NetFile, types: Sequence[str]) -> list[tuple[int, pb.LayerParameter]]:
    """List the layers of a net that are of one of `types`, each with its number among all layers of the net."""
    return [(index, layer) for index, layer in enumerate(net.layers) if layer.type in types]


def same_layer(net: pb.NetParameter, like: pb.NetParameter, index: int) -> int:
    """Find in `net` the layer that is number `index` of `like`: of the same name, with as many of that name before it.

    Returns its number; that after the last layer if `net` has no such layer.
    """
    name = like.layer[index].name
    before = sum(layer.name == name for layer in like.layer[:index])
    named = [number for number, layer in enumerate(net.layer) if layer.name == name]
    return named[before] if before < len(named) else len(net.layer)


def data_param_of(
    layer: pb.LayerParameter,
) -> pb.DataParameter | pb.ImageDataParameter | pb.WindowDataParameter | pb.HDF5DataParameter:
    """Return the message that configures what a data layer reads: `source`, `batch_size` and more."""
    match layer.type:
        case "ImageData":
            return layer.image_data_param
        case "WindowData":
            return layer.window_data_param
        case "HDF5Data":
            return layer.hdf5_data_param
    return layer.data_param
