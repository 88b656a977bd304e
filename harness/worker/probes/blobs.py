"""Probes of a real Caffe net: its learnable blobs, its activations, its outputs, its loss.

The memory of a learnable blob stays where it is for the life of a net, so it is looked up once. That of other blobs
does not: a Data layer points its tops at another prefetched batch each time (base_data_layer.cpp, Forward_cpu).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.caffe_files.layer_names import automatic_losses, unique_names
from harness.caffe_files.layer_types import param_specs
from harness.caffe_files.messages import pb
from harness.caffe_files.weight_digest import digest_of
from harness.schemas.layout import Activation, Output, Param
from harness.schemas.run_info import DigestKind
from harness.worker.layer_numbers import layer_numbers
from harness.worker.probes.memory import Memory
from harness.worker.pycaffe import Blob, Floats, Net
from harness.worker.smoothed_loss import add

Multiplier = Literal["lr_mult", "decay_mult"]
_MULTIPLIERS: tuple[Multiplier, ...] = ("lr_mult", "decay_mult")


class ParamProbe:
    """The learnable param blobs of `net`, each once, in update order.

    Args:
        prototxt: the net's message.
        digests: how weights are hashed.

    Blobs that layers share have one memory; `net.params` would show them twice. The first layer that has it owns it
    (Net::AppendParam).
    """

    def __init__(self, net: Net, prototxt: pb.NetParameter, memory: Memory, digests: DigestKind) -> None:
        self.params, self.blobs = _learnable(net, prototxt)
        self.data = memory.arrays(self.blobs, "data")
        self.diff = memory.arrays(self.blobs, "diff")
        self._weights = memory.weights(self.blobs) if digests == "multilinear" else _WithXxh3(self.blobs, memory)
        self._diff_norms = memory.moments("norms", self.blobs, "diff")

    def measure_weights(self) -> tuple[npt.NDArray[np.float64], int]:
        """Compute (2, P), l2 norm and largest magnitude of every blob's data, and the digest of all of them.

        The next call overwrites the norms.
        """
        norms, digest = self._weights.measure()
        return norms[:2], digest

    def diff_stats(self) -> npt.NDArray[np.float64]:
        """Compute (3, P): l2 norm, largest magnitude, NaN or infinite elements of every blob's diff; as above."""
        return self._diff_norms.measure()

    def digest(self) -> int:
        """Compute the digest of all blobs' data."""
        return self._weights.measure()[1]


class _WithXxh3:
    """Norms, and the digest of runs that continue those of 0.2 and older: on a GPU, it takes a copy of all weights."""

    def __init__(self, blobs: Sequence[Blob], memory: Memory) -> None:
        self._arrays = memory.arrays(blobs, "data")
        self._norms = memory.moments("norms", blobs, "data")

    def measure(self) -> tuple[npt.NDArray[np.float64], int]:
        return self._norms.measure(), digest_of((np.asarray(array.data) for array in self._arrays), "xxh3")


def _learnable(net: Net, prototxt: pb.NetParameter) -> tuple[tuple[Param, ...], tuple[Blob, ...]]:
    """List the learnable blobs, each with its multipliers: the owner's, or the first that a sharer specifies."""
    names, specs = unique_names(prototxt.layer), [param_specs(layer) for layer in prototxt.layer]
    positions: dict[int, int] = {}  # by address
    params: list[Param] = []
    blobs: list[Blob] = []
    explicit: list[set[Multiplier]] = []  # the multipliers that the owner, or an earlier sharer, specifies
    for layer, blob, index in _param_blobs(net, prototxt):
        spec = specs[layer][index] if index < len(specs[layer]) else pb.ParamSpec()
        written = {name for name in _MULTIPLIERS if spec.HasField(name)}
        position = positions.setdefault(blob.data.ctypes.data, len(params))
        if position == len(params):
            params.append(Param(names[layer], index, tuple(blob.shape), spec.lr_mult, spec.decay_mult))
            blobs.append(blob)
            explicit.append(written)
        else:
            old, new = params[position], written - explicit[position]
            params[position] = replace(
                old,
                lr_mult=spec.lr_mult if "lr_mult" in new else old.lr_mult,
                decay_mult=spec.decay_mult if "decay_mult" in new else old.decay_mult,
            )
            explicit[position] |= new
    return tuple(params), tuple(blobs)


def _param_blobs(net: Net, prototxt: pb.NetParameter) -> list[tuple[int, Blob, int]]:
    """List position in `prototxt`, blob and index of every param blob, shared ones once for each layer."""
    return [
        (position, blob, index)
        for position, number in enumerate(layer_numbers(net, prototxt))
        for index, blob in enumerate(net.layers[number].blobs)
    ]


class ActivationProbe:
    """The blobs of `net` by name, without the copies that Split layers make (they share their source's memory)."""

    def __init__(self, net: Net, memory: Memory) -> None:
        self._memory = memory
        copies = {top for i, layer in enumerate(net.layers) if layer.type == "Split" for top in net._top_ids(i)}
        named = {
            name: blob
            for i, (name, blob) in enumerate(zip(net._blob_names, net._blobs, strict=True))
            if i not in copies and name != "(automatic)"  # Caffe's name for the tops that it adds by itself
        }
        self._blobs = list(named.values())
        self.activations = tuple(Activation(name, tuple(blob.shape)) for name, blob in named.items())

    def stats(self) -> npt.NDArray[np.float64]:
        """Compute (A, 4): mean magnitude, largest magnitude, share of zeros, NaN or infinite elements."""
        return self._memory.moments("activity", self._blobs, "data").measure().T


@dataclass(frozen=True)
class _LossTop:
    """A top with a loss weight; `column` is its place in the values of the OutputProbe, None if it is not there."""

    blob: Blob
    column: int | None
    weight: np.float32


class LossProbe:
    """The weighted loss of one forward pass, as Net::ForwardFromTo and Layer::Forward add it up in float32."""

    def __init__(self, net: Net, outputs: OutputProbe, memory: Memory) -> None:
        self._memory = memory
        self._outputs = outputs
        weights = list(net._blob_loss_weights)
        self._layers: list[list[_LossTop]] = []
        for i in range(len(net.layers)):
            tops = [top for top in net._top_ids(i) if weights[top]]
            if tops:
                self._layers.append(
                    [_LossTop(net._blobs[t], outputs.scalars.get(t), np.float32(weights[t])) for t in tops]
                )

    def __call__(self, outputs: Floats | None = None) -> np.float32:
        """Compute the loss of the last forward pass.

        Args:
            outputs: current values of the OutputProbe, if they were read already: most losses are among them.
        """
        outputs = self._outputs.values() if outputs is None else outputs
        total = np.float32(0)
        for tops in self._layers:
            loss = np.float32(0)
            for top in tops:
                if top.column is not None:
                    loss = add(loss, outputs[top.column] * top.weight)
                else:
                    values = self._memory.read(top.blob).ravel()
                    if values.size == 1:
                        loss = add(loss, values[0] * top.weight)
                    else:
                        loss = add(loss, np.dot(values, np.full_like(values, top.weight)))
            total = add(loss, total)  # in this order
        return total


class OutputProbe:
    """The output blobs of a net, in the order in which Caffe prints them, and after them `others`: number and name."""

    def __init__(self, net: Net, memory: Memory, others: Mapping[int, str] = MappingProxyType({})) -> None:
        self._memory = memory
        numbers = [*net._outputs, *others]
        self._blobs = [net._blobs[i] for i in numbers]
        names = [*(net._blob_names[i] for i in net._outputs), *others.values()]
        self.outputs = tuple(Output(n, int(b.count)) for n, b in zip(names, self._blobs, strict=True))
        starts = itertools.accumulate((output.size for output in self.outputs), initial=0)
        columns = zip(numbers, starts, self.outputs, strict=False)  # there is one start more: the end
        self.scalars = {blob: start for blob, start, output in columns if output.size == 1}  # column by blob number

    def values(self) -> Floats:
        """Read all values of all outputs, one after the other; NaN for an output whose size has changed."""
        if not self._blobs:
            return np.empty(0, np.float32)
        parts = [self._memory.read(blob).ravel() for blob in self._blobs]
        sizes = [output.size for output in self.outputs]
        if [part.size for part in parts] != sizes:  # a net whose outputs change their size during training
            parts = [p if p.size == n else np.full(n, np.nan, np.float32) for p, n in zip(parts, sizes, strict=True)]
        return np.concatenate(parts)


def losses_beside_outputs(net: Net, prototxt: pb.NetParameter, losses: Iterable[str]) -> dict[int, str]:
    """Find the blobs of those `losses` (the names of heads) that are no outputs of the net.

    They are tops that Caffe has added to loss layers, and losses that another layer reads. Those with several values
    are left out.
    """
    numbers = layer_numbers(net, prototxt)
    found = {name: number for number, name in enumerate(net._blob_names)}
    found |= {name: net._top_ids(numbers[at])[0] for at, name in automatic_losses(prototxt.layer).items()}
    outputs = {net._blob_names[number] for number in net._outputs}
    return {found[name]: name for name in losses if name not in outputs and net._blobs[found[name]].count == 1}


def input_blobs(net: Net) -> dict[str, Blob]:
    """Find the blobs that layers without a bottom write: data and labels."""
    return {net._blob_names[top]: net._blobs[top] for i in source_layers(net) for top in net._top_ids(i)}


def source_layers(net: Net) -> Sequence[int]:
    """Find the positions of layers without a bottom."""
    return [i for i in range(len(net.layers)) if not len(net._bottom_ids(i))]
