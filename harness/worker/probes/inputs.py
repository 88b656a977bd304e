"""Statistics of the blobs that data layers fill, at every iteration."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.schemas.layout import INPUT_STATS, Activation
from harness.worker.probes.blobs import source_layers
from harness.worker.probes.memory import Memory
from harness.worker.pycaffe import Net

_MINIMUM, _MAXIMUM, _MEAN_ABS, _NONFINITE = range(len(INPUT_STATS))


class InputProbe:
    """Takes statistics of the tops of data layers, in each pass of iter_size.

    Data layers are those without a bottom; a Parameter layer's top is learned, and no input.

    A Data layer gives its top other memory at every iteration, so that is looked up each time (base_data_layer.cpp). On
    a GPU the statistics are computed there, and no blob is copied.

    Attributes:
        inputs: (I) the tops.
        values: (4, I) float64 of the passes since `begin`, in the order of INPUT_STATS.
    """

    def __init__(self, net: Net, memory: Memory) -> None:
        self._memory = memory
        sources = [layer for layer in source_layers(net) if net.layers[layer].type != "Parameter"]
        tops = {layer: list(net._top_ids(layer)) for layer in sources}
        numbers = [number for layer in sources for number in tops[layer]]
        self.inputs = tuple(Activation(net._blob_names[n], tuple(net._blobs[n].shape)) for n in numbers)
        starts = np.cumsum([0, *(len(tops[layer]) for layer in sources)]).tolist()
        self._columns = {
            layer: slice(start, start + len(tops[layer])) for layer, start in zip(sources, starts, strict=False)
        }
        self._blobs = {layer: [net._blobs[number] for number in tops[layer]] for layer in sources}
        self._elements = np.zeros(len(numbers))  # in the passes since `begin`
        self.values: npt.NDArray[np.float64] = np.zeros((len(INPUT_STATS), len(numbers)))

    def begin(self) -> None:
        """Start an iteration."""
        self._elements[:] = 0

    def observe(self, layer: int) -> None:
        """Take what the data layer number `layer` has filled in; of another layer, nothing."""
        blobs = self._blobs.get(layer)
        if blobs is None:
            return
        new = self._memory.moments("range", blobs, "data").measure()
        here = self._columns[layer]
        known, elements = self.values[:, here], self._elements[here]
        count = np.array([blob.count for blob in blobs], np.float64)
        if elements.any():
            np.minimum(known[_MINIMUM], new[_MINIMUM], out=known[_MINIMUM])
            np.maximum(known[_MAXIMUM], new[_MAXIMUM], out=known[_MAXIMUM])
            known[_MEAN_ABS] = (known[_MEAN_ABS] * elements + new[_MEAN_ABS] * count) / (elements + count)
            known[_NONFINITE] += new[_NONFINITE]
        else:
            known[...] = new
        elements += count
