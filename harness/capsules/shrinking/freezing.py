"""Freeze layers of a net: their learning rates are 0, so that their weights stay as they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from harness.caffe_files.layer_names import unique_names
from harness.caffe_files.layer_types import param_specs
from harness.caffe_files.messages import pb
from harness.schemas.layout import Param


def learning_groups(net: pb.NetParameter, blobs: Mapping[str, int]) -> tuple[frozenset[str], ...]:
    """Group the layers of `net` that learn, in its order: those that share a param are together.

    Args:
        blobs: the number of param blobs of each layer, by its unique name.
    """
    groups: list[tuple[set[str], set[str]]] = []  # layers, and the params that they share
    for name, layer in zip(unique_names(net.layer), net.layer, strict=True):
        if not _learns(layer, blobs.get(name, 0)):
            continue
        layers, shared = {name}, {spec.name for spec in layer.param if spec.name}
        before = [group for group in groups if group[1] & shared]
        for group in before:
            layers |= group[0]
            shared |= group[1]
        place = groups.index(before[0]) if before else len(groups)
        groups = [group for group in groups if group not in before]
        groups.insert(place, (layers, shared))
    return tuple(frozenset(layers) for layers, _ in groups)


def _learns(layer: pb.LayerParameter, count: int) -> bool:
    specs = param_specs(layer)[:count]
    return any(spec.lr_mult != 0 for spec in specs) or len(specs) < count


def frozen_net(net: pb.NetParameter, layers: Collection[str], blobs: Mapping[str, int]) -> pb.NetParameter:
    """Copy `net` with the learning rates of `layers`, given by their unique names, at 0."""
    copy = pb.NetParameter()
    copy.CopyFrom(net)
    for name, layer in zip(unique_names(copy.layer), copy.layer, strict=True):
        if name in layers and layer.type != "BatchNorm":  # whose averages never learn
            while len(layer.param) < blobs[name]:
                layer.param.add()
            for spec in layer.param:
                spec.lr_mult = 0
    return copy


def frozen_numbers(params: Sequence[Param], layers: Collection[str]) -> list[int]:
    """Number the learnable blobs of `layers`, in update order: their history is to be 0, or they would go on moving.

    SGD adds momentum × history to the weights whatever their rate is (SGDSolver::ComputeUpdateValue, sgd_solver.cpp).
    """
    return [number for number, param in enumerate(params) if param.layer in layers]
