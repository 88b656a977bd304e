"""The layer that stands in for Caffe's Data layer when a training is resumed."""

from __future__ import annotations

from typing import Any

import caffe

from harness.solver.replay.feed import Batch, Feed
from harness.solver.replay.stream import Stream


class SeekableData(caffe.Layer):  # type: ignore[misc]
    """A Data layer that begins where its `param_str`, a Stream's JSON, says.

    Raises:
        RuntimeError: a record that it cannot take; Caffe hands it on out of `step`.
    """

    def setup(self, bottom: Any, top: Any) -> None:
        self._feed = Feed(Stream.from_json(self.param_str))
        self._first: Batch | None = self._feed.next()
        self._shape(top, self._first)

    def reshape(self, bottom: Any, top: Any) -> None:
        pass

    def forward(self, bottom: Any, top: Any) -> None:
        batch = self._first or self._feed.next()
        self._first = None
        self._shape(top, batch)
        top[0].data[...] = batch.data
        if len(top) > 1:
            top[1].data[...] = batch.labels

    def backward(self, top: Any, propagate_down: Any, bottom: Any) -> None:
        pass

    def __del__(self) -> None:
        if hasattr(self, "_feed"):
            self._feed.close()

    @staticmethod
    def _shape(top: Any, batch: Batch) -> None:
        if tuple(top[0].shape) != batch.data.shape:
            top[0].reshape(*batch.data.shape)
        if len(top) > 1 and tuple(top[1].shape) != batch.labels.shape:
            top[1].reshape(*batch.labels.shape)
