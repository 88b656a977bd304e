"""Capture of complete blobs, for a window and for the black box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.schemas.layout import Array
from harness.worker.probes.blobs import ParamProbe, input_blobs, source_layers
from harness.worker.probes.memory import Memory
from harness.worker.pycaffe import Floats, Net


class InputCapture:
    """Copies the tops of data layers, at every pass of `iter_size`.

    Attributes:
        values: (passes, *shape) by blob name: where the inputs of this iteration are copied to.
        changed: inputs whose shape is no longer the one that they were built with.
    """

    def __init__(self, net: Net, passes: int, memory: Memory) -> None:
        self._memory = memory
        self._blobs = input_blobs(net)
        self._passes = passes
        self._sources = source_layers(net)
        self._tops = {i: [net._blob_names[top] for top in net._top_ids(i)] for i in self._sources}
        self._pass = 0
        self._active = False
        self.changed: set[str] = set()
        self._buffer = {name: np.zeros((passes, *blob.shape), np.float32) for name, blob in self._blobs.items()}
        self.values: Mapping[str, Floats] = self._buffer

    def begin(self, active: bool, into: Floats | None = None) -> None:
        """Start an iteration; its inputs are copied only if `active`.

        They are copied into the 1-D array `into`, one after the other; by default into arrays of this object.
        """
        self._active = active
        self.changed.clear()
        self._pass = 0
        self.values = self._buffer if into is None else self._parts(into)

    def _parts(self, into: Floats) -> dict[str, Floats]:
        found, start = {}, 0
        for name, value in self._buffer.items():
            found[name] = into[start : start + value.size].reshape(value.shape)
            start += value.size
        return found

    def observe(self, layer: int) -> None:
        """Copy what the data layer number `layer` has filled in; of another layer, nothing."""
        if not self._active or layer not in self._tops:
            return
        for name in self._tops[layer]:
            data = self._memory.read(self._blobs[name])
            if data.shape == self.values[name].shape[1:]:
                self.values[name][self._pass] = data
            else:
                self.values[name][...] = 0
                self.changed.add(name)
        if layer == self._sources[-1]:
            self._pass += 1

    def arrays(self) -> tuple[Array, ...]:
        """Describe one window array for each input blob; its first axis is the pass if there are several."""
        return tuple(
            Array("input", name, None, tuple(frame.shape))
            for name, frame in zip(self.values, self.frames(), strict=True)
        )

    def frames(self) -> list[Floats]:
        """List the copies of this iteration, in the order of `arrays`."""
        return [value if self._passes > 1 else value[0] for value in self.values.values()]


def param_arrays(probe: ParamProbe, capture: Sequence[str], histories: int = 0) -> tuple[Array, ...]:
    """Describe one window array for each kind of `capture` and each param blob, kind by kind.

    The history comes last: all first slots, then all second ones, `histories` blobs in all.
    """
    arrays = [
        Array(kind, p.layer, p.index, p.shape)
        for kind in ("weight", "gradient", "update")
        if kind in capture
        for p in probe.params
    ]
    slots = histories // len(probe.params) if "history" in capture and probe.params else 0
    history = (Array("history", p.layer, p.index, p.shape, slot=slot) for slot in range(slots) for p in probe.params)
    return (*arrays, *history)
