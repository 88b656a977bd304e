"""The format of a recording: its names, types and shapes, as worker and supervisor share them.

Format 1. Axes: T iterations, P learnable param blobs, I inputs, A activations (net blobs), S iterations at which
activations were recorded, W window iterations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from harness.schemas.window import Window

FORMAT = "caffe-harness recording"
FORMAT_VERSION = 1
WINDOW_FORMAT = "caffe-harness window"  # of a window in a file of its own, of the same version

# The datasets and groups that grow by one row an iteration.
ROWS = ("iteration", "lr", "loss", "smoothed_loss", "seconds", "digest", "output", "stat", "input_stat")

# What `/stat/<name>` means; all over one blob, accumulated in float64.
STATS = {
    "weight_l2": "square root of the sum of squares of W_t",
    "weight_max": "largest magnitude in W_t",
    "gradient_l2": "square root of the sum of squares of the raw gradient",
    "gradient_max": "largest magnitude in the raw gradient",
    "gradient_nonfinite": "number of NaN or infinite elements of the raw gradient",
    "update_l2": "square root of the sum of squares of what Caffe subtracted from W_t",
}
# What `/input_stat/<name>` means; over one blob that a data layer filled, with iter_size over all its passes.
INPUT_STATS = {
    "minimum": "smallest value",
    "maximum": "largest value",
    "mean_abs": "mean magnitude",
    "nonfinite": "number of NaN or infinite elements",
}
_NONFINITE_INPUTS = list(INPUT_STATS).index("nonfinite")
ACTIVATION_STATS = {
    "mean_abs": "mean magnitude",
    "max": "largest magnitude",
    "zero_fraction": "share of the elements that are exactly 0",
    "nonfinite": "number of NaN or infinite elements",
}
# Largest part of a window array in one message, if the ring allows it, and in one chunk of the file: a message that is
# exactly one chunk is written without copying.
SLAB = 16 << 20


@dataclass(frozen=True)
class Param:
    """One learnable param blob, in the solver's update order."""

    layer: str
    index: int
    shape: tuple[int, ...]
    lr_mult: float
    decay_mult: float

    @property
    def count(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def label(self) -> str:
        """The label `layer/index`."""
        return f"{self.layer}/{self.index}"


@dataclass(frozen=True)
class Output:
    """One output blob of a net: `size` values."""

    name: str
    size: int


@dataclass(frozen=True)
class Head:
    """A loss of the train net, its weight in the total, and its number of classes (None if it has none)."""

    name: str
    weight: float
    classes: int | None


@dataclass(frozen=True)
class Alarm:
    """A rule that fired on `iteration`: `subject` (a head, a param blob, an activation) had `value`, beyond `limit`."""

    iteration: int
    rule: str
    subject: str
    value: float
    limit: float


@dataclass(frozen=True)
class Activation:
    """One blob of the train net."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class NetRoles:
    """What the blobs and layers of a train net are for.

    Attributes:
        labels: blobs that a data layer fills with labels of classes.
        idle: layers, by their unique names, that no gradient reaches.
        fixed: blobs that only the data change: nothing before them learns.
    """

    labels: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Array:
    """One array that a window keeps at every iteration: `shape` float32 values, or byte strings for keys.

    `group` is one of ALL_CAPTURES, state, key or digest; `name` a layer or a blob, or that of a state; `index` a param
    blob's; `slot` which of the histories of this blob it is.
    """

    group: str
    name: str
    index: int | None
    shape: tuple[int, ...]
    dtype: str = "<f4"
    slot: int | None = None

    @property
    def label(self) -> str:
        """The label `layer/index`, `layer/index/slot`, or the blob's name."""
        return "/".join(str(part) for part in (self.name, self.index, self.slot) if part is not None)

    @property
    def nbytes(self) -> int:
        """Bytes of one iteration."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def slabs(self, largest: int) -> list[tuple[int, int]]:
        """Divide the first axis into (start, stop), each part at most `largest` bytes unless a single row is larger."""
        rows = self.shape[0] if self.shape else 1
        if not rows:
            return []
        step = slab_rows(rows, self.nbytes // rows, largest)
        return [(start, min(start + step, rows)) for start in range(0, rows, step)]


def slab_rows(rows: int, row: int, largest: int) -> int:
    """Count the rows of a part of at most `largest` bytes (or one row), where each of `rows` has `row` bytes.

    All parts are equal, because HDF5 allocates the last one in full.
    """
    parts = math.ceil(rows / max(1, largest // max(1, row)))
    return math.ceil(rows / max(1, parts))


def runs(arrays: Sequence[Array], largest: int) -> list[tuple[int, int]]:
    """Group neighbours that together have at most `largest` bytes, as (first, stop); a larger array is alone."""
    found: list[tuple[int, int]] = []
    size = 0
    for position, array in enumerate(arrays):
        size += array.nbytes
        if found and size <= largest:
            found[-1] = (found[-1][0], position + 1)
        else:
            found.append((position, position + 1))
            size = array.nbytes
    return found


@dataclass(frozen=True)
class Layout:
    """Everything that a recording's structure depends on; the worker knows it once the nets are built."""

    params: tuple[Param, ...]
    outputs: tuple[Output, ...]
    test_outputs: tuple[tuple[Output, ...], ...]
    heads: tuple[Head, ...]
    activations: tuple[Activation, ...]
    relus: tuple[str, ...]  # names of the activations that a ReLU wrote
    windows: tuple[Window, ...]
    arrays: tuple[Array, ...]
    inputs: tuple[Activation, ...] = ()  # blobs that data layers fill
    roles: NetRoles = NetRoles()
    kept: tuple[Array, ...] = ()  # arrays in the black box, in the order of ALL_CAPTURES

    def in_window(self, iteration: int) -> bool:
        return any(iteration in window for window in self.windows)

    def sizes(self, iterations: int) -> tuple[int, int]:
        """Return the bytes that the windows take, and those of everything recorded at each of `iterations`."""
        frames = sum(len(window) for window in self.windows)
        return frames * sum(array.nbytes for array in self.arrays), iterations * self.frame_dtype.itemsize

    @property
    def output_size(self) -> int:
        return sum(output.size for output in self.outputs)

    @property
    def output_columns(self) -> dict[str, int]:
        """The column of each output's first value in a frame's `output`."""
        sizes = itertools.accumulate((output.size for output in self.outputs), initial=0)
        return {output.name: start for output, start in zip(self.outputs, sizes, strict=False)}  # one start more

    @property
    def frame_dtype(self) -> np.dtype[np.void]:
        """The dtype of one iteration in the ring buffer."""
        return np.dtype(
            [
                ("iteration", "<i8"),
                ("lr", "<f8"),
                ("loss", "<f8"),
                ("smoothed_loss", "<f8"),
                ("seconds", "<f8"),
                ("lapse", "<f8"),  # seconds since the previous displayed iteration, as Caffe's display line counts them
                ("digest", "<u8"),
                ("output", "<f4", (self.output_size,)),
                ("stat", "<f8", (len(STATS), len(self.params))),
                ("input", "<f8", (len(INPUT_STATS), len(self.inputs))),
            ]
        )

    def encode(self) -> bytes:
        """Encode as MessagePack, which unlike JSON keeps infinite and NaN multipliers."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, content: bytes | memoryview) -> Layout:
        """Decode what `encode` returned."""
        return msgspec.msgpack.decode(content, type=cls)


def frames_of(payloads: Sequence[memoryview], layout: Layout) -> npt.NDArray[np.void]:
    """Copy FRAME payloads out of the ring, as one structured array."""
    return np.frombuffer(b"".join(payloads), layout.frame_dtype)


def all_finite(frame: npt.NDArray[np.void] | np.void) -> bool:
    """Check that everything in a frame is finite: loss, weights, gradients and updates."""
    # called at every iteration: one sum is faster than a test of each, and the norms of a blob with a NaN are NaN
    return math.isfinite(float(frame["loss"]) + float(frame["stat"].sum()))


def inputs_finite(frame: npt.NDArray[np.void] | np.void) -> bool:
    """Check that everything is finite that data layers have filled."""
    return not frame["input"][_NONFINITE_INPUTS].any()


def link_names(names: Iterable[str]) -> dict[str, str]:
    """Map each Caffe name to its path below an HDF5 group.

    A name with slashes (`loss1/loss1`) becomes nested groups, so that the path is the name. Its slashes are
    percent-encoded only if that is impossible (another name, `loss1`, is itself a dataset there; a part is empty or a
    dot); `%` always is, so that the mapping stays unambiguous.
    """
    known = set(names)
    return {name: _link_name(name, known) for name in known}


def _link_name(name: str, known: set[str]) -> str:
    parts = name.split("/")
    path = name.replace("%", "%25")
    if any("/".join(parts[:n]) in known for n in range(1, len(parts))) or {"", ".", ".."} & set(parts):
        path = path.replace("/", "%2F")
    return {"": "%", ".": "%2E", "..": "%2E%2E"}.get(path, path)
