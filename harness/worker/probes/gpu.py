"""Access to the numbers of a real Caffe net on a GPU: statistics are computed there, and copies go one way.

`.data` and `.diff` will not do: pycaffe's are Blob::mutable_cpu_data and mutable_cpu_diff (_caffe.cpp:475). They copy a
blob to the host and mark the GPU's copy as the older one (syncedmem.cpp:54 and 139): Caffe uploads it again (:81).
`_gpu_data_ptr` and `_gpu_diff_ptr` are mutable_gpu_data and mutable_gpu_diff (_caffe.cpp:470; syncedmem.cpp:143). If

- the GPU's copy is the newer one, as that of a param blob after an update or of a top after Forward_gpu, they change
  nothing (syncedmem.cpp:84);
- there is none yet, they create one of zeros (:74), as Caffe would;
- both are equal, they mark the host's as the older one (:147); a later read there copies the same bits again (:54);
- the host's is the newer one, as that of an accuracy which its layer has just written (accuracy_layer.cu:93) or of
  BatchNorm's count of averages (batch_norm_layer.cu:62), they upload it first (:81), as the next kernel that reads it
  would.

So no value of a blob changes. (Caffe computes norms, blob.cpp:321, and subtracts updates, blob.cpp:176, on the side
that is the newer one: for a param blob whose gradient a Python layer wrote on the host, that becomes the GPU.) The
address has to be read every time: a Data layer gives its tops other memory at every iteration (base_data_layer.cu:16;
syncedmem.cpp:128).

Caffe launches on the default stream, since none of its kernels names another, in the primary context of its device;
CuPy uses the same two, so what is launched or copied here comes after what Caffe has launched.

Nothing of this has run on a GPU; gpu_selftest.py checks it at the start of every run on one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from harness.caffe_files.weight_digest import with_length
from harness.recording.ring import Part
from harness.schemas.run_info import Gpu
from harness.worker.probes.memory import Measurement, WeightMeasurement
from harness.worker.probes.moments import ROWS, Statistics
from harness.worker.pycaffe import Blob, Field, Floats, GpuBlob

_THREADS = 256  # THREADS in moments.cu
_PIECE = 1 << 15  # elements that one block of threads processes
_SQUARES, _MAGNITUDES, _LARGEST, _ZEROS, _NONFINITE, _LOWEST, _HIGHEST = range(7)  # the columns of moments.cu


class Device(Protocol):
    """The operations on a GPU that probes need."""

    def address(self, blob: Blob, field: Field) -> int:
        """Read the current address of a blob's `data` or `diff` on the device."""
        ...

    def copy(self, address: int, target: npt.NDArray[np.uint8]) -> None:
        """Fill `target`, on the host, with the bytes at `address`."""
        ...

    def staging(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """Return a buffer of `nbytes` bytes on the host for a copy that is read at once: the next call reuses it."""
        ...

    def synchronize(self) -> None:
        """Wait for everything that was launched."""
        ...

    def partials(self, starts: npt.NDArray[np.uint64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Compute (pieces, 7): the sums, counts and extremes of moments.cu for each piece.

        Args:
            starts: addresses on the device.
            lengths: elements at each address.
        """
        ...

    def weights(
        self, starts: npt.NDArray[np.uint64], lengths: npt.NDArray[np.int64], positions: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint64]]:
        """Compute what `partials` does, and (pieces,) parts of the digest.

        Args:
            positions: the number of elements before each piece, in all blobs.
        """
        ...


class Cuda:
    """The GPU that Caffe uses, through CuPy."""

    def __init__(self, number: int) -> None:
        import cupy  # only tools/setup --cuda installs it

        self._cupy = cupy
        self._number = number
        self._staging: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        cupy.cuda.Device(number).use()
        module = cupy.RawModule(path=str(Path(__file__).with_name("_moments.ptx")))
        self._partials, self._weights = module.get_function("partials"), module.get_function("weights")

    def describe(self) -> Gpu:
        """Describe the GPU, for run.json."""
        runtime = self._cupy.cuda.runtime
        properties = runtime.getDeviceProperties(self._number)
        return Gpu(
            name=properties["name"].decode(),
            compute_capability=f"{properties['major']}.{properties['minor']}",
            driver=str(runtime.driverGetVersion()),
            cupy=self._cupy.__version__,
        )

    def address(self, blob: Blob, field: Field) -> int:
        on_gpu = cast(GpuBlob, blob)
        return int(on_gpu._gpu_data_ptr if field == "data" else on_gpu._gpu_diff_ptr)

    def copy(self, address: int, target: npt.NDArray[np.uint8]) -> None:
        runtime = self._cupy.cuda.runtime
        runtime.memcpy(target.ctypes.data, address, target.nbytes, runtime.memcpyDeviceToHost)

    def staging(self, nbytes: int) -> npt.NDArray[np.uint8]:
        if nbytes > self._staging.nbytes:  # page-locked: the driver copies to it without a buffer of its own
            self._staging = np.frombuffer(self._cupy.cuda.alloc_pinned_memory(nbytes), np.uint8)
        return self._staging[:nbytes]

    def synchronize(self) -> None:
        self._cupy.cuda.runtime.streamSynchronize(0)

    def partials(self, starts: npt.NDArray[np.uint64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        out = self._cupy.empty((len(starts), 7), np.float64)
        arguments = (self._cupy.asarray(starts), self._cupy.asarray(lengths), out)
        self._partials((len(starts),), (_THREADS,), arguments)
        result: npt.NDArray[np.float64] = self._cupy.asnumpy(out)
        return result

    def weights(
        self, starts: npt.NDArray[np.uint64], lengths: npt.NDArray[np.int64], positions: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint64]]:
        out, digests = self._cupy.empty((len(starts), 7), np.float64), self._cupy.empty(len(starts), np.uint64)
        arguments = (*map(self._cupy.asarray, (starts, lengths, positions)), out, digests)
        self._weights((len(starts),), (_THREADS,), arguments)
        return self._cupy.asnumpy(out), self._cupy.asnumpy(digests)


class GpuMemory:
    """The memory of a net in GPU mode, on `device`."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def moments(self, statistics: Statistics, blobs: Sequence[Blob], field: Field) -> Measurement:
        return _GpuMoments(self._device, statistics, blobs, field)

    def weights(self, blobs: Sequence[Blob]) -> WeightMeasurement:
        return _GpuWeights(self._device, blobs)

    def arrays(self, blobs: Sequence[Blob], field: Field) -> list[Part]:
        return [GpuArray(self._device, blob, field, tuple(blob.shape)) for blob in blobs]

    def read(self, blob: Blob) -> Floats:
        values: Floats = np.empty(tuple(blob.shape), np.float32)
        self._device.copy(self._device.address(blob, "data"), values.reshape(-1).view(np.uint8))
        return values

    def synchronize(self) -> None:
        self._device.synchronize()


@dataclass(frozen=True)
class GpuArray:
    """The contents of a blob at the time of each copy: all of it, or `shape` elements from number `first` on."""

    device: Device
    blob: Blob
    field: Field
    shape: tuple[int, ...]
    first: int = 0

    @property
    def nbytes(self) -> int:
        return 4 * math.prod(self.shape)

    def copy_into(self, target: npt.NDArray[np.uint8]) -> None:
        """Copy all of it into `nbytes` bytes on the host, for example in the ring, without a buffer in between."""
        self.device.copy(self.device.address(self.blob, self.field) + 4 * self.first, target)

    @property
    def data(self) -> memoryview:
        copy = self.device.staging(self.nbytes)
        self.copy_into(copy)
        return copy.data

    def __getitem__(self, rows: slice) -> GpuArray:
        """Select rows of the first axis."""
        start, stop, _ = rows.indices(self.shape[0])
        below = self.shape[1:]
        return replace(self, shape=(stop - start, *below), first=self.first + start * math.prod(below))


@dataclass(frozen=True)
class _Pieces:
    """The pieces of blobs, in order.

    Attributes:
        counts: (blobs,) elements of each blob.
        firsts: (blobs,) the first piece of each.
        starts: (pieces,) addresses on the device.
        lengths: (pieces,) elements.
        positions: (pieces,) elements of all blobs before each.
    """

    counts: npt.NDArray[np.int64]
    firsts: npt.NDArray[np.int64]
    starts: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.int64]
    positions: npt.NDArray[np.uint64]


def _pieces(device: Device, blobs: Sequence[Blob], field: Field) -> _Pieces:
    addresses = np.array([device.address(blob, field) for blob in blobs], np.uint64)
    counts = np.array([blob.count for blob in blobs], np.int64)
    pieces = np.maximum(-(-counts // _PIECE), 1)
    firsts = np.cumsum(pieces) - pieces
    of = np.repeat(np.arange(len(counts)), pieces)  # the blob of each piece
    before = (np.arange(len(of)) - firsts[of]) * _PIECE  # elements of its blob before it
    return _Pieces(
        counts=counts,
        firsts=firsts,
        starts=addresses[of] + 4 * before.astype(np.uint64),
        lengths=np.minimum(counts[of] - before, _PIECE),
        positions=((np.cumsum(counts) - counts)[of] + before).astype(np.uint64),
    )


class _GpuMoments:
    """The statistics of `Moments`, computed on `device`."""

    def __init__(self, device: Device, statistics: Statistics, blobs: Sequence[Blob], field: Field) -> None:
        self._device, self._statistics, self._blobs, self._field = device, statistics, blobs, field

    def measure(self) -> npt.NDArray[np.float64]:
        if not self._blobs:  # CuPy launches at least one block
            return np.empty((ROWS[self._statistics], 0))
        pieces = _pieces(self._device, self._blobs, self._field)
        return _added(self._statistics, self._device.partials(pieces.starts, pieces.lengths), pieces)


class _GpuWeights:
    """The norms and the digest of `WeightMoments`, computed on `device`."""

    def __init__(self, device: Device, blobs: Sequence[Blob]) -> None:
        self._device, self._blobs = device, blobs

    def measure(self) -> tuple[npt.NDArray[np.float64], int]:
        if not self._blobs:
            return np.empty((ROWS["norms"], 0)), with_length(0, 0)
        pieces = _pieces(self._device, self._blobs, "data")
        partials, digests = self._device.weights(pieces.starts, pieces.lengths, pieces.positions)
        return _added("norms", partials, pieces), with_length(int(digests.sum()), int(pieces.counts.sum()))


def _added(statistics: Statistics, partials: npt.NDArray[np.float64], pieces: _Pieces) -> npt.NDArray[np.float64]:
    """Add up the pieces of each blob, to what `Moments` gives."""
    firsts, counts = pieces.firsts, pieces.counts
    sums = np.add.reduceat(partials, firsts)
    largest = np.maximum.reduceat(partials[:, _LARGEST], firsts)
    share = np.maximum(counts, 1)
    if statistics == "range":
        total = np.where(counts > 0, sums[:, _MAGNITUDES], np.nan)
        lowest = np.minimum.reduceat(partials[:, _LOWEST], firsts)
        highest = np.maximum.reduceat(partials[:, _HIGHEST], firsts)
        extremes = [np.where(np.isnan(total), np.nan, extreme) for extreme in (lowest, highest)]
        return np.stack([*extremes, total / share, sums[:, _NONFINITE]])
    if statistics == "norms":
        total, columns = sums[:, _SQUARES], [np.sqrt(sums[:, _SQUARES])]
        rest = [sums[:, _NONFINITE]]
    else:
        total, columns = sums[:, _MAGNITUDES], [sums[:, _MAGNITUDES] / share]
        rest = [sums[:, _ZEROS] / share, sums[:, _NONFINITE]]
    return np.stack([*columns, np.where(np.isnan(total), total, largest), *rest])
