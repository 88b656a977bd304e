"""Try a GPU: Caffe trains on it for a moment, and what the probes see there is compared with what Caffe says.

    python -P -m harness.worker.gpu_selftest 0

prints, as JSON, what the GPU is; then it ends with 0, or says what went wrong. A Caffe without code for this GPU, or
one whose memory is not where the probes look, is found out here and not after hours.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness.worker.lazy_caffe_io  # noqa: F401  # before caffe

# isort: split
import caffe
import numpy as np

from harness.worker.probes.gpu import Cuda, GpuMemory
from harness.worker.probes.memory import HostMemory, Memory

NET = """
layer { name: "data" type: "DummyData" top: "data"
        dummy_data_param { shape { dim: 16 dim: 300 } data_filler { type: "gaussian" } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
        inner_product_param { num_output: 200 weight_filler { type: "xavier" } bias_filler { type: "gaussian" } } }
layer { name: "relu" type: "ReLU" bottom: "ip" top: "ip" }
layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1
        reduction_param { operation: SUMSQ } }
"""


def trained() -> Any:
    """A solver that has made a step with a small net."""
    with tempfile.TemporaryDirectory() as directory:
        net, file = Path(directory) / "net.prototxt", Path(directory) / "solver.prototxt"
        net.write_text(NET)
        file.write_text(f'train_net: "{net}" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 max_iter: 1')
        solver = caffe.SGDSolver(str(file))
    solver.step(1)
    return solver


def compare(memory: Memory, blobs: Sequence[Any]) -> None:
    """What is seen of the blobs in `memory` is what Caffe itself says of them.

    Raises:
        RuntimeError: it is not.
    """
    for field in ("data", "diff"):
        seen = memory.moments("norms", blobs, field).measure()
        copies = [bytes(array.data) for array in memory.arrays(blobs, field)]
        expected = HostMemory().moments("norms", blobs, field).measure()  # from here on the host has them, too
        if not np.allclose(seen, expected, rtol=1e-9) or not expected[0].all():
            raise RuntimeError(f"norms of {field} are {seen[0].tolist()} there, and {expected[0].tolist()} in Caffe")
        if copies != [getattr(blob, field).tobytes() for blob in blobs]:
            raise RuntimeError(f"copies of {field} are not what Caffe says")


def main() -> None:
    gpu = int(sys.argv[1])
    caffe.set_device(gpu)
    caffe.set_mode_gpu()
    cuda = Cuda(gpu)
    print(json.dumps(cuda.facts()), flush=True)
    solver = trained()
    compare(GpuMemory(cuda), [blob for blobs in solver.net.params.values() for blob in blobs])


if __name__ == "__main__":
    main()
