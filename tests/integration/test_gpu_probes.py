"""The probes for GPUs: all of gpu.py except the dozen lines that call CuPy.

A stand-in for the device lies in the host's memory, where it runs the real kernel, compiled for the host; Caffe and its
nets are real, in CPU mode.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from harness.caffe_files.messages import pb, read_text
from harness.caffe_files.net import train_net
from harness.diagnosis import exactness
from harness.errors import BadInput
from harness.recording.ring import Kind, Ring
from harness.schemas.run_info import Gpu
from harness.supervisor import device as devices
from harness.supervisor.net_upgrade import upgrade_net
from harness.supervisor.options import Options
from harness.supervisor.plan import make_plan
from harness.supervisor.resume import from_weights
from harness.supervisor.training_spec import read_training_spec
from harness.worker.probes.gpu import GpuArray, GpuMemory
from harness.worker.probes.moments import Moments, WeightMoments
from tests.helpers.host_device import HostDevice
from tests.helpers.paths import ROOT
from tests.helpers.processes import command
from tests.helpers.run_infos import run_info


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> HostDevice:
    library = tmp_path_factory.mktemp("kernel") / "partials.so"
    source = ROOT / "tests/helpers/partials_on_host.cpp"
    options = ("-std=c++20", "-O2", "-shared", "-fPIC", f"-I{ROOT}/harness/worker/probes")
    done = command("/usr/bin/c++", *options, source, "-o", library)
    assert done.code == 0, done.stderr
    return HostDevice(library)


class Blob:
    """A blob of these values."""

    def __init__(self, data: npt.NDArray[np.float32]) -> None:
        self.data = self.diff = data
        self.shape = data.shape
        self.count = data.size

    def reshape(self, *shape: int) -> None:
        raise NotImplementedError


def blobs(*arrays: npt.ArrayLike) -> list[Blob]:
    return [Blob(np.asarray(array, np.float32)) for array in arrays]


# Statistics

PIECE = 1 << 15
RANDOM = np.random.default_rng(3)


ARRAYS: dict[str, list[npt.ArrayLike]] = {
    "a block": [RANDOM.normal(size=n) for n in (1, 255, 256, 257, 5000)],
    "several blocks": [RANDOM.normal(size=n) for n in (PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7)],
    "none": [],
    "empty and zeros": [[], [0, 0, -0.0, 1e-45], RANDOM.normal(size=(3, 4, 5, 6)), []],
    "huge and tiny": [[3e38] * 300, [-3e38] * 2, [1e-30] * 400],
    "not finite": [[1, np.nan, -7, np.nan], [np.inf, 1, -np.inf], [np.nan] * 300, [1, 2]],
    "not finite at the end": [
        np.r_[np.zeros(PIECE), np.nan],
        np.r_[RANDOM.normal(size=PIECE), -np.inf, np.zeros(100)],
    ],
}


@pytest.mark.parametrize("arrays", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("what", ["norms", "activity", "range"])
def test_the_kernel_agrees_with_the_cpu(
    what: Literal["norms", "activity", "range"], arrays: list[npt.ArrayLike], device: HostDevice
) -> None:
    these = blobs(*arrays)
    got = GpuMemory(device).moments(what, these, "data").measure()
    expected = Moments(what, [blob.data.ravel() for blob in these]).measure()
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got[1], expected[1])  # the largest
    if what == "range":
        np.testing.assert_array_equal(got[0], expected[0])  # the smallest
    np.testing.assert_array_equal(got[-1], expected[-1])  # NaN or infinite ones
    np.testing.assert_allclose(got, expected, rtol=1e-13)


@pytest.mark.parametrize("arrays", [ARRAYS["several blocks"], ARRAYS["none"], ARRAYS["empty and zeros"]])
def test_the_kernel_hashes_weights_as_the_cpu_does(arrays: list[npt.ArrayLike], device: HostDevice) -> None:
    these = blobs(*arrays)
    norms, digest = GpuMemory(device).weights(these).measure()
    assert digest == WeightMoments([blob.data.ravel() for blob in these]).measure()[1]
    np.testing.assert_array_equal(norms, GpuMemory(device).moments("norms", these, "data").measure())


def test_equal_numbers_give_equal_bits_at_any_address(device: HostDevice) -> None:
    values = RANDOM.normal(size=2 * PIECE + 99).astype(np.float32)
    alone, first, last = blobs(values), blobs(values, [1, 2, 3]), blobs(np.ones(PIECE), values)
    measured = [GpuMemory(device).moments("norms", these, "data").measure() for these in (alone, first, last)]
    assert measured[0][:, 0].tobytes() == measured[1][:, 0].tobytes() == measured[2][:, 1].tobytes()


def test_the_address_is_read_at_each_measurement(device: HostDevice) -> None:
    """A Data layer gives its top other memory at every iteration."""
    (blob,) = blobs([1, 2, 2])
    measure = GpuMemory(device).moments("norms", [blob], "data")
    assert measure.measure()[0, 0] == 3
    blob.data = np.array([4, 0, 3], np.float32)
    assert measure.measure()[0, 0] == 5
    assert list(GpuMemory(device).read(blob)) == [4, 0, 3]


# Copies


def test_arrays_are_put_into_the_ring_whole_and_in_slabs(device: HostDevice) -> None:
    values = RANDOM.normal(size=(6, 4, 5)).astype(np.float32)
    (blob,) = blobs(values)
    (array,) = GpuMemory(device).arrays([blob], "data")
    assert isinstance(array, GpuArray)
    assert array.nbytes == values.nbytes
    assert bytes(array.data) == values.tobytes()
    ring = Ring(Ring.create(1 << 16).fd)
    ring.put(Kind.SLAB, [array, values[0], array])
    ring.put(Kind.SLAB, [array[2:5]])
    ring.put(Kind.SLAB, [array[1:][1:3]])
    payloads = [bytes(message.payload) for message in ring.messages()]
    assert payloads[0] == values.tobytes() + values[0].tobytes() + values.tobytes()
    assert payloads[1] == values[2:5].tobytes()
    assert payloads[2] == values[2:4].tobytes()


# A run


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
import caffe
from tests.helpers.host_device import compare
compare({solver!r}, {library!r})
"""


@pytest.mark.parametrize("iter_size", [1, 2])
def test_a_run_is_observed_as_on_the_cpu_without_a_copy(iter_size: int, small: Path, device: HostDevice) -> None:
    solver = small / "solver.prototxt"
    solver.write_text(solver.read_text().replace("display: 7", f"display: 5\niter_size: {iter_size}"))
    program = PROGRAM.format(root=str(ROOT), solver=str(solver), library=str(device.library))
    done = command(sys.executable, "-c", program, cwd=small)
    assert done.code == 0, done.stderr[-3000:]


# The trial at the start

TRIAL = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.helpers.host_device import HostDevice
from harness.worker import gpu_selftest
from harness.worker.probes.gpu import GpuMemory

class Wrong(HostDevice):
    def address(self, blob, field):
        return super().address(blob, field if sys.argv[1] != "diff for data" else "diff")

    def copy(self, address, target):
        super().copy(address, target)
        if sys.argv[1] == "a bit in a copy":
            target[-1] ^= 1

    def weights(self, starts, lengths, positions):
        sums, digests = super().weights(starts, lengths, positions)
        digests[0] += sys.argv[1] == "a bit in a digest"
        return sums, digests

solver = gpu_selftest.train_one_step()
params = solver.net.params.values()
gpu_selftest.check_probes(GpuMemory(Wrong(Path({library!r}))), [blob for blobs in params for blob in blobs])
"""


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("", ""),
        ("diff for data", "norms of data are"),
        ("a bit in a copy", "copies of data differ"),
        ("a bit in a digest", "the digest of the weights is"),
    ],
)
def test_the_selftest_finds_wrong_observations(fault: str, said: str, device: HostDevice) -> None:
    program = TRIAL.format(root=str(ROOT), library=str(device.library))
    done = command(sys.executable, "-c", program, fault)
    assert (done.code == 0) == (not fault), done.stderr
    assert said in done.stderr


CARD = '{"name": "A card", "compute_capability": "8.0", "driver": "13000", "cupy": "14.2.0"}\n'


@pytest.mark.parametrize(
    ("stdout", "stderr", "said"),
    [
        ("", "F1 common.cpp:152] Check failed: error == cudaSuccess (35 vs. 0)  CUDA driver version is insufficient",
         ("GPU 0 cannot be used on this machine (CUDA driver version is insufficient)", "tools/setup (without --cuda)",
          "--cpu", "nvidia-smi")),
        ("", "ModuleNotFoundError: No module named 'cupy'", ("CuPy is not installed", "tools/setup --cuda")),
        ("", "cupy_backends.cuda.api.driver.CUDADriverError: CUDA_ERROR_FILE_NOT_FOUND: file not found",
         ("kernel", "not compiled", "tools/setup --cuda")),
        (CARD, "F1 relu.cu:27] Check failed: error == cudaSuccess (209 vs. 0)  no kernel image is available for "
         "execution on the device", ("built for other GPUs than A card", "tools/setup --cuda --cuda-arch 8.0")),
        ("", "CUDADriverError: CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image is available for execution on the device",
         ("GPU 0 cannot be used", "no kernel image")),
        (CARD, "RuntimeError: copies of diff differ from Caffe's own", ("copies of diff differ", "--cpu")),
    ],
    ids=["old driver", "no CuPy", "no kernel of ours", "no kernels of Caffe's", "too old for ours", "seen wrongly"],
)  # fmt: skip
def test_a_gpu_that_cannot_be_used_is_bad_input(
    stdout: str, stderr: str, said: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "caffe_build", lambda: {"device": "cuda"})
    ended = subprocess.CompletedProcess((), 1, stdout, stderr)
    monkeypatch.setattr(devices, "_caffe", lambda *program: ended)
    with pytest.raises(BadInput) as error:
        devices.check_gpu(0, None)
    for words in ("--gpu 0", *said):
        assert words in str(error.value)


def test_the_gpu_of_a_run_is_that_of_its_restarts(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small)
    card = msgspec.json.decode(CARD, type=Gpu)
    asked: list[int] = []

    def check_gpu(gpu: int, path: Path) -> Gpu:
        asked.append(gpu)
        return card

    monkeypatch.setattr(devices, "check_gpu", check_gpu)
    solver = Path("solver.prototxt")
    spec = read_training_spec(solver)
    start = from_weights(None, spec.solver)
    plan = make_plan(spec, start, Options(gpu=1))
    assert (plan.info.mode, plan.info.gpu) == ("GPU 1", card)
    solver.write_text(plan.info.solver)  # which is what a restart reads
    assert make_plan(read_training_spec(solver), start, Options()).payload.gpu == 1
    assert asked == [1, 1]


def test_another_gpu_is_not_exact() -> None:
    card = msgspec.json.decode(CARD, type=Gpu)
    then = run_info(mode="GPU 0", gpu=card)
    (only,) = exactness.differences(then, then)
    assert "whether its sums repeat their bits was never tried" in only
    now = run_info(mode="GPU 0", gpu=msgspec.structs.replace(card, driver="13010"))
    assert exactness.differences(then, now)[1:] == [
        "A card (driver 13010, CuPy 14.2.0) instead of A card (driver 13000, CuPy 14.2.0)"
    ]


# What a CUDA build asks for


@pytest.mark.parametrize(
    ("device_kind", "gpu", "refused"), [("cuda", False, True), ("cuda", True, False), ("cpu", False, False)]
)
def test_a_cuda_build_without_a_gpu_refuses_prefetching_layers(
    device_kind: str, gpu: bool, refused: bool, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """internal_thread.cpp would end the process there."""
    net = train_net(
        read_text(small / "solver.prototxt", pb.SolverParameter, "solver"), small / "solver.prototxt", upgrade_net
    )
    monkeypatch.setattr(devices, "caffe_build", lambda: {"device": device_kind})
    monkeypatch.setattr(devices, "_gpu_at_hand", lambda: gpu)
    if not refused:
        devices.check_prefetching(net)
        return
    with pytest.raises(BadInput) as error:
        devices.check_prefetching(net)
    for said in ("net.prototxt", "layer data", "type = Data", "tools/setup"):
        assert said in str(error.value)
