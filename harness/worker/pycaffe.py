"""Types for the parts of pycaffe that the worker uses; pycaffe itself carries none.

They are protocols, so that the probes work on anything that looks like a net of pycaffe. This module does not import
caffe: the supervisor may import modules that use these types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# The two arrays of a blob: values, and gradients or updates.
Field = Literal["data", "diff"]


class Blob(Protocol):
    """A Blob<float> (_caffe.cpp). `data` and `diff` are views of Caffe's memory on the host."""

    @property
    def data(self) -> Floats: ...

    @property
    def diff(self) -> Floats: ...

    @property
    def shape(self) -> Sequence[int]: ...

    @property
    def count(self) -> int:
        """Number of elements."""
        ...


class Top(Blob, Protocol):
    """A Blob<float> that a Python layer fills."""

    def reshape(self, *shape: int) -> None: ...


class GpuBlob(Blob, Protocol):
    """A Blob<float> of a GPU build."""

    @property
    def _gpu_data_ptr(self) -> int:
        """Address of the data on the device."""
        ...

    @property
    def _gpu_diff_ptr(self) -> int:
        """Address of the diff on the device."""
        ...


class Layer(Protocol):
    """A Layer<float>."""

    @property
    def type(self) -> str: ...

    @property
    def blobs(self) -> Sequence[Blob]:
        """Its param blobs, including those shared with other layers."""
        ...


class Net(Protocol):
    """A Net<float> (_caffe.cpp, pycaffe.py). Layers and blobs are counted in the order of the built net."""

    @property
    def blobs(self) -> Mapping[str, Blob]: ...

    @property
    def params(self) -> Mapping[str, Sequence[Blob]]:
        """Param blobs by layer name; blobs that layers share appear under each."""
        ...

    @property
    def layers(self) -> Sequence[Layer]: ...

    @property
    def _layer_names(self) -> Sequence[str]: ...

    @property
    def _blobs(self) -> Sequence[Blob]: ...

    @property
    def _blob_names(self) -> Sequence[str]: ...

    @property
    def _blob_loss_weights(self) -> Sequence[float]: ...

    @property
    def _outputs(self) -> Sequence[int]:
        """Numbers of the blobs that no layer reads."""
        ...

    def _top_ids(self, layer: int) -> Sequence[int]:
        """Numbers of the blobs that a layer writes."""
        ...

    def _bottom_ids(self, layer: int) -> Sequence[int]:
        """Numbers of the blobs that a layer reads."""
        ...

    def forward(self) -> Mapping[str, Floats]: ...

    def _forward(self, first: int, last: int) -> float:
        """Run the layers `first` … `last`, both included; returns their weighted loss."""
        ...

    def after_forward(self, callback: Callable[[int], None]) -> None:
        """Have `callback` called with a layer's number after its forward pass."""
        ...

    def before_backward(self, callback: Callable[[int], None]) -> None:
        """Have `callback` called with a layer's number before its backward pass."""
        ...

    def copy_from(self, caffemodel: str) -> None: ...

    def load_hdf5(self, file: str) -> None: ...

    def save(self, caffemodel: str) -> None: ...


class SolverParameter(Protocol):
    """A SolverParameter of a built solver. Caffe reads it at every iteration."""

    base_lr: float


class Solver(Protocol):
    """A Solver<float>."""

    @property
    def param(self) -> SolverParameter: ...

    @property
    def net(self) -> Net: ...

    @property
    def test_nets(self) -> Sequence[Net]: ...

    @property
    def iter(self) -> int: ...

    def step(self, iterations: int) -> None: ...

    def solve(self) -> None: ...

    def snapshot(self) -> None: ...

    def restore(self, solverstate: str) -> None: ...

    def add_callback(self, on_start: Callable[[], None], on_gradients_ready: Callable[[], None]) -> None: ...
