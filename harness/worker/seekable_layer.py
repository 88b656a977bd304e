"""The Caffe layer that replaces a `Data` or `ImageData` layer: same tops, same bytes, from any record on.

Caffe imports this module by its name when it builds a net that `replace_data_layers` (seekable_nets.py) returned.
"""

from __future__ import annotations

import atexit
from collections.abc import Sequence

import caffe
import numpy as np

from harness.prefetch.client import PrefetchClient
from harness.schemas.stream import Stream
from harness.worker.pycaffe import Blob, Top

_open: list[PrefetchClient] = []


def stop_prefetching() -> None:
    """Stop the prefetch processes of all nets built so far: call it once they are dropped, before building others.

    Caffe never destroys a Python layer (PythonLayer::self_ refers to the object that owns it), so no layer can stop its
    own. Prefetch processes that are not stopped here end with this process.
    """
    while _open:
        _open.pop().close()


atexit.register(stop_prefetching)


class SeekableData(caffe.Layer):  # type: ignore[misc]  # caffe carries no types
    """Data layer with the tops images (batch, channels, height, width) and, if the stream has labels, labels (batch,).

    `param_str` is the JSON of a Stream. The tops are reshaped from batch to batch as BasePrefetchingDataLayer does
    (base_data_layer.cpp).
    """

    def setup(self, bottom: Sequence[Blob], top: Sequence[Top]) -> None:
        self.feed = PrefetchClient(Stream.from_json(self.param_str))
        _open.append(self.feed)
        self._shape(top, self.feed.peek())

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Top]) -> None:
        """Do nothing: called before every forward pass, when the next batch is not known yet."""

    def forward(self, bottom: Sequence[Blob], top: Sequence[Top]) -> None:
        images, labels = self.feed.next()
        if tuple(top[0].shape) != images.shape:
            self._shape(top, images.shape)
        np.copyto(top[0].data, images)
        if len(top) > 1:
            np.copyto(top[1].data, labels)

    def backward(self, top: Sequence[Top], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        """Do nothing: there is no bottom."""

    @staticmethod
    def _shape(top: Sequence[Top], shape: tuple[int, ...]) -> None:
        top[0].reshape(*shape)
        if len(top) > 1:
            top[1].reshape(shape[0])
