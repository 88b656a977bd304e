"""Train in plain pycaffe, and store what a window of the harness would: the other side of a comparison.

    python -P -m tools.gpu_checks.plain SOLVER A:B OUT.npz GPU|cpu

Of iterations A … B-1, OUT gets `weight/T/LAYER/NUMBER`, `gradient/…` (raw), `update/…`, `input/T/BLOB`, and
`digest/T/weights`, which the CPU computes. Everything is read through pycaffe's `.data` and `.diff`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import caffe
import numpy as np

from harness.caffe_files.messages import pb, read_text
from harness.caffe_files.net import train_net
from harness.caffe_files.weight_digest import digest_of
from harness.schemas.run_info import NEW_DIGESTS
from harness.schemas.window import Window
from harness.supervisor.net_upgrade import upgrade_net
from harness.worker.probes.blobs import ParamProbe, input_blobs
from harness.worker.probes.memory import HostMemory

Arrays = dict[str, Any]


def set_device(gpu: str) -> None:
    """Have Caffe compute on that GPU, or on the CPU if it is `cpu`."""
    if gpu == "cpu":
        caffe.set_mode_cpu()
    else:
        caffe.set_device(int(gpu))
        caffe.set_mode_gpu()


def net_of(solver: Path) -> pb.NetParameter:
    """Return the message of the train net of a solver file."""
    return train_net(read_text(solver, pb.SolverParameter, "solver"), solver, upgrade_net).param


def train(path: Path, window: Window) -> Arrays:
    """Train to the end of `window`, and return what its iterations held."""
    solver, kept = caffe.SGDSolver(str(path)), Arrays()
    probe = ParamProbe(solver.net, net_of(path), HostMemory(), NEW_DIGESTS)  # which blobs there are, in which order
    blobs, labels = probe.blobs, [f"{param.layer}/{param.index}" for param in probe.params]
    inputs = input_blobs(solver.net)

    def keep(kind: str, field: str, iteration: int) -> None:
        for label, blob in zip(labels, blobs, strict=True):
            kept[f"{kind}/{iteration}/{label}"] = getattr(blob, field).copy()

    def gradients_ready() -> None:
        if solver.iter in window:
            keep("gradient", "diff", solver.iter)
            kept.update({f"input/{solver.iter}/{name}": blob.data.copy() for name, blob in inputs.items()})

    solver.add_callback(lambda: None, gradients_ready)
    solver.step(window.start)
    for iteration in range(window.start, window.stop):
        keep("weight", "data", iteration)
        kept[f"digest/{iteration}/weights"] = np.uint64(digest_of((blob.data for blob in blobs), NEW_DIGESTS))
        solver.step(1)
        keep("update", "diff", iteration)
    return kept


def main() -> None:
    solver, window, out, gpu = sys.argv[1:]
    caffe.init_log(2, True)
    set_device(gpu)
    start, stop = map(int, window.split(":"))
    np.savez(out, **train(Path(solver), Window(start, stop)))


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
    else:
        main()
