"""See the numbers of a real Caffe net: its learnable blobs, its activations, its loss.

The memory of a learnable blob stays where it is for the life of a net, so it is looked up once. That of other blobs
does not: a Data layer points its tops at another prefetched batch each time (base_data_layer.cpp, Forward_cpu).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from harness.schemas.layout import Activation, Output, Param
from harness.worker.probes.memory import Floats, Memory


class ParamProbe:
    """The learnable param blobs of `net`, each once, in update order.

    Blobs that layers share have one memory; `net.params` would show them twice. The first layer that has it owns it
    (Net::AppendParam).
    """

    def __init__(self, net: Any, prototxt: Any, memory: Memory) -> None:
        specs = {layer.name: list(layer.param) for layer in prototxt.layer}
        owners: dict[int, int] = {}
        params: list[Param] = []
        blobs: list[Any] = []
        explicit: list[set[str]] = []  # which multipliers the owner, or an earlier sharer, wrote down
        for layer, blob, index in _blobs(net):
            spec = specs[layer][index] if index < len(specs.get(layer, ())) else None
            written = {f for f in ("lr_mult", "decay_mult") if spec is not None and spec.HasField(f)}
            position = owners.setdefault(blob.data.ctypes.data, len(params))
            if position == len(params):
                lr, decay = (spec.lr_mult, spec.decay_mult) if spec is not None else (1.0, 1.0)
                params.append(Param(layer, index, tuple(blob.shape), lr, decay))
                blobs.append(blob)
                explicit.append(written)
            else:  # a sharer may say what its owner left open
                old = params[position]
                new = {f: getattr(spec, f) for f in written - explicit[position]}
                params[position] = Param(
                    old.layer,
                    old.index,
                    old.shape,
                    new.get("lr_mult", old.lr_mult),
                    new.get("decay_mult", old.decay_mult),
                )
                explicit[position] |= written
        self.params = tuple(params)
        self.blobs = tuple(blobs)
        self.data = memory.arrays(blobs, "data")
        self.diff = memory.arrays(blobs, "diff")
        self._data_norms = memory.moments("norms", blobs, "data")
        self._diff_norms = memory.moments("norms", blobs, "diff")

    def weight_stats(self) -> npt.NDArray[np.float64]:
        """(2, P): l2 norm, largest magnitude of every blob's data. The next call overwrites it."""
        return self._data_norms.measure()[:2]

    def diff_stats(self) -> npt.NDArray[np.float64]:
        """(3, P): l2 norm, largest magnitude, NaN or infinite elements of every blob's diff; as above."""
        return self._diff_norms.measure()

    def digest(self) -> int:
        """XXH3-64 over the bytes of all learnable blobs' data, in order."""
        state = xxhash.xxh3_64()
        for data in self.data:
            state.update(data.data)
        return int(state.intdigest())


def _blobs(net: Any) -> list[tuple[str, Any, int]]:
    return [
        (name, blob, index)
        for name, layer in zip(net._layer_names, net.layers, strict=True)
        for index, blob in enumerate(layer.blobs)
    ]


class ActivationProbe:
    """The blobs of `net` by name, without the copies that Split layers make (they share their source's memory)."""

    def __init__(self, net: Any, memory: Memory) -> None:
        self._memory = memory
        copies = {top for i, layer in enumerate(net.layers) if layer.type == "Split" for top in net._top_ids(i)}
        named = {
            name: blob
            for i, (name, blob) in enumerate(zip(net._blob_names, net._blobs, strict=True))
            if i not in copies and name != "(automatic)"  # what Caffe calls the tops it adds by itself
        }
        self._blobs = list(named.values())
        self.activations = tuple(Activation(name, tuple(blob.shape)) for name, blob in named.items())

    def stats(self) -> npt.NDArray[np.float64]:
        """(A, 4): mean magnitude, largest magnitude, share of zeros, NaN or infinite elements."""
        return self._memory.moments("activity", self._blobs, "data").measure().T


class LossProbe:
    """The weighted loss of one forward pass, as Net::ForwardFromTo and Layer::Forward add it up in float32."""

    def __init__(self, net: Any, outputs: OutputProbe, memory: Memory) -> None:
        self._memory = memory
        weights = list(net._blob_loss_weights)
        self._outputs = outputs
        self._layers: list[list[tuple[Any, int | None, np.float32]]] = []  # blob, its place in the outputs, weight
        for i in range(len(net.layers)):
            tops = [top for top in net._top_ids(i) if weights[top]]
            if tops:
                self._layers.append([(net._blobs[t], outputs.scalars.get(t), np.float32(weights[t])) for t in tops])

    def __call__(self, outputs: Floats | None = None) -> np.float32:
        """`outputs`: what the OutputProbe says now, where that is at hand; a loss is mostly an output, too."""
        outputs = self._outputs.values() if outputs is None else outputs
        total = np.float32(0)
        for tops in self._layers:
            loss = np.float32(0)
            for blob, place, weight in tops:
                if place is not None:
                    loss += outputs[place] * weight
                else:
                    values = self._memory.read(blob).ravel()
                    loss += values[0] * weight if values.size == 1 else np.dot(values, np.full_like(values, weight))
            total += loss
        return total


class OutputProbe:
    """The output blobs of a net, in the order in which Caffe prints them."""

    def __init__(self, net: Any, memory: Memory) -> None:
        self._memory = memory
        self._blobs = [net._blobs[i] for i in net._outputs]
        names = [net._blob_names[i] for i in net._outputs]
        self.outputs = tuple(Output(n, int(b.count)) for n, b in zip(names, self._blobs, strict=True))
        starts = itertools.accumulate((output.size for output in self.outputs), initial=0)
        places = zip(net._outputs, starts, self.outputs, strict=False)  # there is one start more: the end
        self.scalars = {blob: start for blob, start, output in places if output.size == 1}  # blob number: its place

    def values(self) -> Floats:
        """All values of all outputs, one after the other; NaN for one that no longer has its size."""
        if not self._blobs:
            return np.empty(0, np.float32)
        parts = [self._memory.read(blob).ravel() for blob in self._blobs]
        sizes = [output.size for output in self.outputs]
        if [part.size for part in parts] != sizes:  # a net whose outputs change their size as it goes
            parts = [p if p.size == n else np.full(n, np.nan, np.float32) for p, n in zip(parts, sizes, strict=True)]
        return np.concatenate(parts)


def input_blobs(net: Any) -> dict[str, Any]:
    """The blobs that layers without a bottom make: data and labels."""
    return {
        net._blob_names[top]: net._blobs[top]
        for i in range(len(net.layers))
        if not len(net._bottom_ids(i))
        for top in net._top_ids(i)
    }


def source_layers(net: Any) -> Sequence[int]:
    """The positions of layers without a bottom."""
    return [i for i in range(len(net.layers)) if not len(net._bottom_ids(i))]
