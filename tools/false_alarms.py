"""Train two healthy nets for long, and count the alarms; none of them should be a divergence.

    .venv/bin/python -m tools.false_alarms [--iterations N] [--out DIR]

They are the healthy variant of prototxt/glyphs280, whose sixteen outlier records come in every epoch, and LeNet as in
Caffe's examples/mnist on rendered digits, one label in a hundred wrong. 20,000 iterations of both take 20 minutes.
"""

import argparse
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from harness.caffe_files.messages import pb, read_text
from harness.diagnosis.live.limits import read_limits
from harness.recording import Recording
from tools.bench.nets import GLYPHS, ROOT, lenet, write_lmdb

_FONTS = (0, 2, 3, 4, 6, 7)


def digit(random: np.random.Generator, label: int) -> np.ndarray:
    """Draw a 28×28 digit in a random font, position, size and slant, with noise."""
    image = np.zeros((28, 28), np.uint8)
    place = (int(random.integers(4, 9)), int(random.integers(20, 25)))
    font, size = _FONTS[random.integers(len(_FONTS))], float(random.uniform(0.6, 0.9))
    cv2.putText(
        image, str(label), place, font, size, int(random.integers(150, 255)), int(random.integers(1, 3)), cv2.LINE_AA
    )
    turn = cv2.getRotationMatrix2D((14, 14), random.uniform(-25, 25), random.uniform(0.8, 1.15))
    return np.clip(cv2.warpAffine(image, turn, (28, 28)) + random.normal(0, 20, (28, 28)), 0, 255).astype(np.uint8)


def digits(path: Path, count: int = 20_000) -> Path:
    """Write an LMDB of digits, one in a hundred with a wrong label."""
    random = np.random.default_rng(1)

    def datum() -> bytes:
        label = int(random.integers(10))
        image = digit(random, label)
        noisy = int(random.integers(10)) if random.random() < 0.01 else label
        return bytes(pb.Datum(channels=1, height=28, width=28, data=image.tobytes(), label=noisy).SerializeToString())

    return write_lmdb(path, ((f"{number:08d}".encode(), datum()) for number in range(count)))


def glyphs_solver(home: Path, iterations: int) -> tuple[Path, list[str]]:
    """Write the solver of the healthy variant for more iterations; return it and the options for its weights."""
    solver = read_text(GLYPHS / "healthy_solver.prototxt", pb.SolverParameter, "solver")
    solver.max_iter, solver.snapshot = iterations, 0
    (home / "glyphs280.prototxt").write_text(str(solver))
    return home / "glyphs280.prototxt", ["--weights", str(GLYPHS / "base.caffemodel")]


def lenet_solver(home: Path, iterations: int) -> tuple[Path, list[str]]:
    """Write LeNet with the solver of examples/mnist."""
    problem = lenet(home, digits(home / "digits"))
    solver = read_text(problem.solver, pb.SolverParameter, "solver")
    solver.MergeFrom(
        pb.SolverParameter(base_lr=0.01, lr_policy="inv", gamma=0.0001, power=0.75, weight_decay=0.0005, random_seed=7)
    )
    solver.max_iter = iterations
    problem.solver.write_text(str(solver))
    return problem.solver, []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--iterations", type=int, default=20_000, metavar="N", help="iterations of each (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "runs/false-alarms", metavar="DIR", help="default: %(default)s"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    subprocess.run([sys.executable, GLYPHS / "make_data.py"], check=True, cwd=ROOT)
    limits, divergences = read_limits(), 0
    for name, solver_of in (("glyphs280 healthy", glyphs_solver), ("LeNet", lenet_solver)):
        solver, start = solver_of(args.out, args.iterations)
        run = args.out / solver.stem
        command = [sys.executable, ROOT / "harness/run.py", "--solver", solver, *start, "--out", run]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        with Recording(run) as recording:
            rules = Counter(alarm.rule for alarm in recording.alarms)
            made = len(recording.iterations)
        stopping = sum(count for rule, count in rules.items() if limits.stops(rule))
        divergences += stopping
        counts = ", ".join(f"{count} {rule}" for rule, count in rules.items()) or "no alarm"
        print(f"{name}: {made:,} iterations, {stopping} divergences; {counts}")
    return 1 if divergences else 0


if __name__ == "__main__":
    sys.exit(main())
