"""Self-test of a GPU: Caffe trains on it for one step, and what the probes read there is compared with Caffe's own.

    python -P -m harness.worker.gpu_selftest 0

prints a description of the GPU as JSON; then it exits with 0, or with an error. A Caffe without code for this GPU, or
one whose memory is not where the probes read it, is found here and not after hours.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import harness.worker.lazy_caffe_io  # noqa: F401  # before caffe

# isort: split
import caffe
import msgspec
import numpy as np

from harness.caffe_files.weight_digest import digest_of
from harness.worker.probes.gpu import Cuda, GpuMemory
from harness.worker.probes.memory import HostMemory, Memory
from harness.worker.pycaffe import Blob, Field, Solver

NET = """
layer { name: "data" type: "DummyData" top: "data"
        dummy_data_param { shape { dim: 16 dim: 300 } data_filler { type: "gaussian" } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
        inner_product_param { num_output: 200 weight_filler { type: "xavier" } bias_filler { type: "gaussian" } } }
layer { name: "relu" type: "ReLU" bottom: "ip" top: "ip" }
layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1
        reduction_param { operation: SUMSQ } }
"""
_FIELDS: tuple[Field, ...] = ("data", "diff")


def train_one_step() -> Solver:
    """Build a solver for a small net, and make one step."""
    with tempfile.TemporaryDirectory() as directory:
        net, file = Path(directory) / "net.prototxt", Path(directory) / "solver.prototxt"
        net.write_text(NET)
        file.write_text(f'train_net: "{net}" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 max_iter: 1')
        solver: Solver = caffe.SGDSolver(str(file))
    solver.step(1)
    return solver


def check_probes(memory: Memory, blobs: Sequence[Blob]) -> None:
    """Compare what the probes read of the blobs in `memory` with what Caffe itself returns.

    Raises:
        RuntimeError: they differ.
    """
    _, digest = memory.weights(blobs).measure()
    for field in _FIELDS:
        seen = memory.moments("norms", blobs, field).measure()
        copies = [bytes(array.data) for array in memory.arrays(blobs, field)]
        expected = HostMemory().moments("norms", blobs, field).measure()  # from here on the host has them, too
        if not np.allclose(seen, expected, rtol=1e-9) or not expected[0].all():
            raise RuntimeError(
                f"norms of {field} are {seen[0].tolist()} on the GPU, but {expected[0].tolist()} in Caffe"
            )
        if copies != [array.tobytes() for array in HostMemory().arrays(blobs, field)]:
            raise RuntimeError(f"copies of {field} differ from Caffe's own")
    if digest != (expected_digest := digest_of((blob.data for blob in blobs), "multilinear")):
        raise RuntimeError(
            f"the digest of the weights is {digest:016x} on the GPU, but {expected_digest:016x} in Caffe"
        )


def main() -> None:
    gpu = int(sys.argv[1])
    caffe.set_device(gpu)
    caffe.set_mode_gpu()
    cuda = Cuda(gpu)
    print(msgspec.json.encode(cuda.describe()).decode(), flush=True)
    solver = train_one_step()
    check_probes(GpuMemory(cuda), [blob for blobs in solver.net.params.values() for blob in blobs])


if __name__ == "__main__":
    main()
