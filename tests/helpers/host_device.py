"""A stand-in for a GPU whose memory is the host's, and two observers of one solver."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.caffe_files.messages import pb, read_text
from harness.caffe_files.net import train_net
from harness.recording.black_box import BlackBox
from harness.recording.ring import Kind, Ring
from harness.schemas.captures import CAPTURES
from harness.schemas.events import Note
from harness.schemas.run_info import NEW_DIGESTS
from harness.schemas.window import Window
from harness.supervisor.net_upgrade import upgrade_net
from harness.worker.payload import Payload
from harness.worker.probes.gpu import GpuMemory
from harness.worker.pycaffe import Blob
from tests.helpers.run_infos import run_info


class HostDevice:
    """A device whose memory is the host's."""

    def __init__(self, library: Path) -> None:
        self.library = library
        self._staging = np.empty(0, np.uint8)
        self._kernels = ctypes.CDLL(str(library))

    def address(self, blob: Any, field: str) -> int:
        return int(getattr(blob, field).ctypes.data)

    def copy(self, address: int, target: npt.NDArray[np.uint8]) -> None:
        ctypes.memmove(target.ctypes.data, address, target.nbytes)

    def staging(self, nbytes: int) -> npt.NDArray[np.uint8]:
        if nbytes > self._staging.nbytes:
            self._staging = np.empty(nbytes, np.uint8)
        return self._staging[:nbytes]  # the same each time, as Cuda's

    def synchronize(self) -> None:
        """Return at once: the host computes synchronously."""

    def partials(self, starts: npt.NDArray[np.uint64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        assert len(starts) > 0  # CuPy would launch a block all the same
        assert starts.dtype == np.uint64
        assert lengths.dtype == np.int64
        assert starts.shape == lengths.shape
        out = np.full((len(starts), 7), np.nan)
        self._kernels.launch_partials(len(starts), *map(_pointer, (starts, lengths, out)))
        return out

    def weights(
        self, starts: npt.NDArray[np.uint64], lengths: npt.NDArray[np.int64], positions: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint64]]:
        assert len(starts) > 0
        assert positions.dtype == np.uint64
        out, digests = np.full((len(starts), 7), np.nan), np.zeros(len(starts), np.uint64)
        self._kernels.launch_weights(len(starts), *map(_pointer, (starts, lengths, positions, out, digests)))
        return out, digests


def _pointer(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


class Watched:
    """An object of Caffe that counts accesses to `data` and `diff` of its blobs, each of which is a copy on a GPU."""

    asked = 0

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        if name in ("data", "diff"):
            Watched.asked += 1
        value = getattr(self.inner, name)
        if name in ("_blobs", "layers", "test_nets") or (name == "blobs" and not isinstance(value, dict)):
            return [Watched(item) for item in value]
        if name in ("blobs", "params"):
            return {key: Watched(item) for key, item in value.items()}
        return Watched(value) if name == "net" else value


class WatchedDevice(HostDevice):
    """A device that accesses blobs without being counted; `copied` are the bytes of each copy to the host."""

    def __init__(self, library: Path) -> None:
        super().__init__(library)
        self.copied: list[int] = []

    def address(self, blob: Any, field: str) -> int:
        return super().address(blob.inner, field)

    def copy(self, address: int, target: npt.NDArray[np.uint8]) -> None:
        self.copied.append(target.nbytes)
        super().copy(address, target)


class Messages:
    """A channel that keeps everything that is put into it."""

    def __init__(self) -> None:
        self.ring = Ring(Ring.create(1 << 13).fd)  # so small that large blobs are split into slabs
        self.kept: list[tuple[Kind, tuple[Any, ...], bytes]] = []

    def put(self, kind: Kind, payload: Any, **where: Any) -> None:
        self.ring.put(kind, payload, **where)
        for message in self.ring.messages():
            self.kept.append((kind, (message.iteration, message.index, message.start), bytes(message.payload)))
        self.ring.release()

    def send(self, note: Note) -> None:
        raise AssertionError(note)


def compare(solver_file: str, library: str) -> None:
    """Check that both observers of one real solver give the same frames and window, without a copy by Caffe."""
    import caffe

    from harness.worker.observer import Observer
    from harness.worker.probes.memory import HostMemory, Memory

    param = read_text(Path(solver_file), pb.SolverParameter, "solver")
    net = train_net(param, Path(solver_file), upgrade_net).param
    solver = caffe.SGDSolver(solver_file)
    watched = Watched(solver)
    sides = []
    boxes = [BlackBox.create(1 << 24) for _ in range(2)]
    device = WatchedDevice(Path(library))
    memories: tuple[Memory, Memory] = (HostMemory(), GpuMemory(device))
    window = Window(2, 4)
    payload = payload_of(window)
    for seen, memory, box in zip((solver, watched), memories, boxes, strict=True):
        channel = Messages()
        sides.append((Observer(seen, net, payload, channel, param, memory, box, no_history, no_state), channel))
    frames = []
    at_first = Watched.asked
    inputs = [4 * solver.net.blobs[name].count for name in ("data", "label")] * param.iter_size
    for iteration in range(6):
        device.copied.clear()
        for observer, _ in sides:
            observer.before(iteration)
        solver.step(1)
        frames.append([observer.after(iteration).copy() for observer, _ in sides])
        if iteration not in window:
            blobs = [nbytes for nbytes in device.copied if nbytes > 4]  # without those of one value: losses
            assert blobs == inputs, f"in iteration {iteration}: {blobs}"
    assert at_first > 0  # accesses are counted
    assert Watched.asked == at_first, f"{Watched.asked - at_first} copies in six iterations"
    for host, gpu in frames:
        for name in ("iteration", "digest", "lr", "loss", "output"):
            assert np.array_equal(host[name], gpu[name]), name
        np.testing.assert_allclose(host["stat"], gpu["stat"], rtol=1e-13)
        np.testing.assert_allclose(host["input"], gpu["input"], rtol=1e-13)
        assert host["stat"][2].sum() > 0
    assert [box.iterations for box in boxes] == [[0, 1, 4, 5]] * 2  # those that are in no window
    for iteration in boxes[0].iterations:
        one, other = (box.read(iteration) for box in boxes)
        assert one is not None
        assert other is not None
        assert one.arrays[-len(other.arrays) :] == other.arrays  # inputs: without what params have
        assert len(other.arrays) == sum(inputs) < len(one.arrays)
        assert one.digest == other.digest
        assert any(other.arrays)
    kept = [channel.kept for _, channel in sides]
    assert [message[:2] for message in kept[0]] == [message[:2] for message in kept[1]]
    assert {kind for kind, _, _ in kept[0]} == {Kind.SLAB, Kind.ACTIVATION, Kind.TEST}
    assert any(start for _, (_, _, start), _ in kept[0])  # some came in slabs
    for (kind, where, host_bytes), (_, _, gpu_bytes) in zip(*kept, strict=True):
        if kind is Kind.ACTIVATION:
            np.testing.assert_allclose(np.frombuffer(host_bytes), np.frombuffer(gpu_bytes), rtol=1e-13)
        else:
            assert host_bytes == gpu_bytes, (kind, where)


def no_history(shapes: Sequence[tuple[int, ...]]) -> list[Blob]:
    """Stand for the history of a solver where it is not captured."""
    raise AssertionError(shapes)


def no_state() -> None:
    """Stand for the state of layers where there is none."""


def payload_of(*windows: Window) -> Payload:
    """Return as much of a payload as an Observer reads."""
    return Payload(
        run="/",
        info=run_info(until=6, capture=CAPTURES, digest_kind=NEW_DIGESTS),
        solver_type="SGD",
        snapshot_name="made_up",
        native=(),
        as_written=False,
        gpu=None,
        windows=windows,
        resume=None,
        replay=False,
        streams=(),
        rows=(),
        blas=None,
        record_keys=None,
        label_blob="label",
    )
