"""Capture inside a window: complete blobs, and the keys of the batch's records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from harness.prefetch.record_order import ReadingPlan, RecordOrder
from harness.schemas.layout import Array
from harness.worker.probes.blobs import ParamProbe, input_blobs, source_layers
from harness.worker.probes.memory import Memory
from harness.worker.pycaffe import Floats, Net


class InputCapture:
    """Copies the tops of data layers, before an in-place layer can change them, at every pass of `iter_size`.

    Attributes:
        values: (passes, *shape) by blob name.
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
        self.values = {name: np.zeros((passes, *blob.shape), np.float32) for name, blob in self._blobs.items()}
        net.after_forward(self._after_layer)

    def begin(self, active: bool) -> None:
        """Start an iteration; its inputs are copied only if `active`."""
        self._active = active
        self.changed.clear()
        self._pass = 0

    def _after_layer(self, layer: int) -> None:
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


class RecordKeys:
    """The LMDB keys of every record in the windows; each batch is checked against the labels that the net saw.

    Args:
        path: an .npz with `key` (n,) and `label` (n,) of all records, and `plan`, a ReadingPlan in JSON.
        label: the blob whose values the labels must equal.
    """

    def __init__(self, path: str, label: str | None) -> None:
        with np.load(path) as book:
            self._keys = book["key"]
            self._labels = book["label"]
            plan = msgspec.json.decode(book["plan"].item(), type=ReadingPlan)
        self._order = RecordOrder(plan, len(self._keys))
        self._label = label

    def array(self) -> Array:
        """Describe the window array of the keys."""
        return Array("key", "key", None, (self._order.size,), self._keys.dtype.str)

    def keys(self, iteration: int, inputs: Mapping[str, Floats]) -> tuple[npt.NDArray[np.bytes_], bool]:
        """Look up the keys of `iteration`, and check its labels against `inputs`, the captured blobs by name.

        Iterations must come in ascending order.

        Returns:
            The keys, and whether the labels agree; empty keys if they do not, or if there are no labels.
        """
        records = self._order.records(iteration)
        if self._label is not None and np.array_equal(inputs[self._label].ravel(), self._labels[records]):
            return self._keys[records], True
        return np.zeros(len(records), self._keys.dtype), False


def param_arrays(probe: ParamProbe, capture: Sequence[str]) -> tuple[Array, ...]:
    """Describe one window array for each kind of `capture` and each param blob, kind by kind."""
    return tuple(
        Array(kind, p.layer, p.index, p.shape)
        for kind in ("weight", "gradient", "update")
        if kind in capture
        for p in probe.params
    )
