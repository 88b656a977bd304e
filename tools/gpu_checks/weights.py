"""Compare the weights of two caffemodels, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.caffe_files.messages import pb, read_binary

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Difference:
    """`elements` of `size` weights differ, at most by `largest`; `label` is the first param blob with one of them."""

    label: str
    elements: int
    size: int
    largest: float

    def __str__(self) -> str:
        return f"{self.elements:,} of {self.size:,} weights differ, by up to {self.largest:.2g}, first in {self.label}"


def weights_of(model: Path) -> dict[str, Floats]:
    """Read the param blobs of a caffemodel, by layer and number."""
    net = read_binary(model, pb.NetParameter, "caffemodel")
    return {
        f"{layer.name}/{number}": np.array(blob.data, np.float32)
        for layer in net.layer
        for number, blob in enumerate(layer.blobs)
    }


def difference(a: dict[str, Floats], b: dict[str, Floats]) -> Difference | None:
    """Compare arrays with the same names by their bits; None if all are equal.

    Raises:
        ValueError: their names or shapes differ.
    """
    if [(name, array.shape) for name, array in a.items()] != [(name, array.shape) for name, array in b.items()]:
        raise ValueError("these are not the weights of the same net")
    other = {name: a[name].view(np.uint32) != b[name].view(np.uint32) for name in a}
    elements = sum(int(mask.sum()) for mask in other.values())
    if not elements:
        return None
    with np.errstate(all="ignore"):
        largest = max(float(np.abs(a[name][mask] - b[name][mask]).max()) for name, mask in other.items() if mask.any())
    first = next(name for name, mask in other.items() if mask.any())
    return Difference(first, elements, sum(mask.size for mask in other.values()), largest)
