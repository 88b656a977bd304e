"""Train a few iterations, and compare what the probes compute with what numpy computes from `.data` and `.diff`.

    python -P -m tools.gpu_checks.probe SOLVER ITERATIONS GPU|cpu

The last line is a `Probed` as JSON. On a GPU, everything is read there first; `.data` and `.diff` then copy it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import caffe
import msgspec
import numpy as np
import numpy.typing as npt

from harness.caffe_files.weight_digest import digest_of
from harness.schemas.run_info import NEW_DIGESTS
from harness.worker.probes.blobs import ActivationProbe, ParamProbe
from harness.worker.probes.gpu import Cuda, GpuMemory
from harness.worker.probes.memory import HostMemory, Memory
from tools.gpu_checks.plain import net_of, set_device
from tools.gpu_checks.probed import Probed

Doubles = npt.NDArray[np.float64]


def norms(values: npt.NDArray[np.float32]) -> Doubles:
    """Compute l2 norm, largest magnitude, NaN or infinite elements."""
    wide = values.astype(np.float64)
    return np.array([np.linalg.norm(wide), np.abs(wide).max(), (~np.isfinite(wide)).sum()])


def activity(values: npt.NDArray[np.float32]) -> Doubles:
    """Compute mean magnitude, largest magnitude, share of zeros, NaN or infinite elements."""
    wide = np.abs(values.astype(np.float64))
    return np.array([wide.mean(), wide.max(), (wide == 0).mean(), (~np.isfinite(wide)).sum()])


def deviations(seen: Doubles, expected: Doubles, names: list[str]) -> Iterator[tuple[float, str]]:
    """List the relative deviation of each statistic, with its name; `seen` and `expected` are (statistics, names)."""
    for column, name in enumerate(names):
        for row in range(len(seen)):
            true = expected[row, column]
            off = abs(seen[row, column] - true)
            yield float(off / abs(true) if true else off), f"statistic {row} of {name}"


def probe(path: Path, iterations: int, memory: Memory) -> Probed:
    """Train, and look at the net through `memory` and through pycaffe."""
    solver = caffe.SGDSolver(str(path))
    net = solver.net
    # before the training: they read `.data` once
    params, blobs = ParamProbe(net, net_of(path), memory, NEW_DIGESTS), ActivationProbe(net, memory)
    solver.step(iterations)
    labels = [f"{param.layer}/{param.index}" for param in params.params]
    tops = [activation.name for activation in blobs.activations]
    weights, digest = params.measure_weights()
    seen = (weights.copy(), params.diff_stats().copy(), blobs.stats().T)
    expected = (
        np.stack([norms(blob.data)[:2] for blob in params.blobs], axis=1),
        np.stack([norms(blob.diff) for blob in params.blobs], axis=1),
        np.stack([activity(net.blobs[name].data) for name in tops], axis=1),
    )
    names = ([f"the weights {label}" for label in labels], [f"the update {label}" for label in labels], tops)
    found = [one for parts in zip(seen, expected, names, strict=True) for one in deviations(*parts)]
    worst, where = max(found, key=lambda one: (np.isnan(one[0]), one[0]))
    of_copies = digest_of((blob.data for blob in params.blobs), NEW_DIGESTS)
    return Probed(f"{digest:016x}", f"{of_copies:016x}", worst, where, len(found))


def main() -> None:
    solver, iterations, gpu = sys.argv[1:]
    caffe.init_log(2, True)
    set_device(gpu)
    memory = HostMemory() if gpu == "cpu" else GpuMemory(Cuda(int(gpu)))
    print(msgspec.json.encode(probe(Path(solver), int(iterations), memory)).decode())


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
    else:
        main()
