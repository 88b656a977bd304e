"""Break a GoogLeNet of full size once, and have it explained.

    .venv/bin/python -m tools.full_size DIR [--budget 25m]

prototxt/googlenet280 at batch 32 trains on drawn images, from weights with which it is healthy at once. 24 of the 32
images of iteration 30 are 12-bit scans, as in prototxt/glyphs280, and break it. Then explain.py says why, within a
budget. What is in DIR already is not made again, and replays that are finished are kept: give the same command again
after an interruption. It takes 10 minutes on 2 cores until the run is recorded, and 3 GB of disk. The time, and the
memory of all processes together, are printed after each step.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format

from harness.caffe_files.messages import pb, read_text
from tools.bench.nets import ROOT
from tools.full_size.data import write_images
from tools.full_size.measured import measured

GOOGLENET = ROOT / "prototxt/googlenet280"

BATCH = 32
ONSET = 30
SCANS = range(ONSET * BATCH + 4, ONSET * BATCH + 28)
RATE = 0.0004
IMAGES = 1408  # 44 batches: the weights that training starts with have been fitted to each of them
ITERATIONS = 70
SNAPSHOTS = 10  # iterations between them


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.full_size", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="DIR", help="where everything is made")
    parser.add_argument("--budget", default="25m", metavar="LIMIT", help="of explain.py (default: %(default)s)")
    args = parser.parse_args(arguments)
    home: Path = args.out.resolve()
    home.mkdir(parents=True, exist_ok=True)
    clean, images, weights, run = (home / name for name in ("clean_lmdb", "train_lmdb", "start.caffemodel", "run"))
    for path, scans in ((clean, range(0)), (images, SCANS)):
        if not path.exists():
            write_images(path, IMAGES, scans)
    if not weights.exists():
        measured("weights", ["-m", "tools.full_size.start_weights", str(clean), str(weights)])
    if not run.exists():
        command = ["harness/run.py", "--solver", str(write_solver(home, images)), "--weights", str(weights)]
        # Caffe computes on after a break; the loss stays finite
        measured("run", [*command, "--until", str(ITERATIONS), "--on-alarm", "continue", "--out", str(run)])
    code = measured("explain", ["harness/explain.py", str(run), "--budget", args.budget])
    subprocess.run([sys.executable, "harness/report.py", str(run)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return code


def write_solver(home: Path, images: Path) -> Path:
    """Write the net, which reads `images`, and its solver: a lower rate, no test passes, and shorter intervals."""
    net = read_text(GOOGLENET / "train_val.prototxt", pb.NetParameter, "net")
    kept = [layer for layer in net.layer if not any(rule.phase == pb.TEST for rule in layer.include)]
    del net.layer[:]
    net.layer.extend(kept)
    net.layer[0].data_param.source = str(images)
    solver = read_text(GOOGLENET / "quick_solver.prototxt", pb.SolverParameter, "solver")
    for name in ("test_iter", "test_interval", "test_initialization"):
        solver.ClearField(name)
    solver.base_lr = RATE
    solver.net = str(home / "train_val.prototxt")
    solver.display = solver.average_loss = 5
    solver.snapshot, solver.snapshot_prefix, solver.random_seed = SNAPSHOTS, "googlenet280", 280
    (home / "train_val.prototxt").write_text(text_format.MessageToString(net))
    file = home / "solver.prototxt"
    file.write_text(text_format.MessageToString(solver))
    return file


if __name__ == "__main__":
    sys.exit(main())
