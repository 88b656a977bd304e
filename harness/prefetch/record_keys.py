"""The keys of the records that the iterations of a run read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from harness.prefetch.record_order import ReadingPlan, RecordOrder
from harness.schemas.layout import Array


class RecordKeys:
    """The keys of every record that is read; each batch is checked against the labels that the net saw.

    Args:
        keys, labels: of all records (n,).
        plan: which of them an iteration reads.
        label: the blob whose values the labels must equal; None if there is none.
    """

    def __init__(
        self, keys: npt.NDArray[np.bytes_], labels: npt.NDArray[np.int32], plan: ReadingPlan, label: str | None
    ) -> None:
        self._keys, self._labels, self._label = keys, labels, label
        self._order = RecordOrder(plan, len(keys))

    @classmethod
    def read(cls, path: Path, label: str | None) -> RecordKeys:
        """Read them from an .npz with `key` and `label`, and `plan`, a ReadingPlan in JSON."""
        with np.load(path) as book:
            plan = msgspec.json.decode(book["plan"].item(), type=ReadingPlan)
            return cls(book["key"], book["label"], plan, label)

    def array(self) -> Array:
        """Describe the window array of the keys."""
        return Array("key", "key", None, (self._order.size,), self._keys.dtype.str)

    def keys(
        self, iteration: int, inputs: Mapping[str, npt.NDArray[np.float32]]
    ) -> tuple[npt.NDArray[np.bytes_], bool]:
        """Look up the keys of `iteration`, and check its labels against `inputs`, the captured blobs by name.

        Iterations must come in ascending order.

        Returns:
            The keys, and whether the labels agree; empty keys if they do not, or if there are no labels.
        """
        records = self._order.records(iteration)
        if self._label is not None and np.array_equal(inputs[self._label].ravel(), self._labels[records]):
            return self._keys[records], True
        return np.zeros(len(records), self._keys.dtype), False
