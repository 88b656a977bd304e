"""Draw the README's pictures from two recordings: the run that breaks and the healthy one.

Usage: plot_story.py runs/quick runs/healthy [--out DIR]

Both must have been recorded with --watch 835:881, so that activations were measured at every iteration there.
"""

import argparse
import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from harness.recording import Recording

HERE = Path(__file__).resolve().parent

BREAK = 841
NEAR = slice(BREAK - 6, BREAK + 30)  # the iterations of shock.png
FEATURES = "pool5/3x3_s1"  # the input of the last classifier
UNIFORM = 1.6 * math.log(280)
HEALTHY, BROKEN, GUIDE = "#1f6f8b", "#c1272d", "#777777"


def story(axes: Axes, runs: dict[str, Recording]) -> None:
    """Plot the loss of both runs as `caffe train` displays it."""
    for colour, run in runs.items():
        shown = run.iterations % 40 == 0
        label = f"base_lr {run.series('lr')[0]:g}"
        axes.semilogy(run.iterations[shown], run.series("smoothed_loss")[shown], color=colour, marker=".", label=label)
    axes.axhline(UNIFORM, color=GUIDE, linestyle=":", linewidth=1)
    axes.text(150, UNIFORM * 1.06, "1.6 ln 280 = 9.016: all classes equally likely", color=GUIDE)
    axes.set(xlabel="iteration", ylabel="displayed loss", xlim=(0, None))
    axes.set_yticks([1, 2, 3, 5, 10, 20], ["1", "2", "3", "5", "10", "20"])
    axes.minorticks_off()
    axes.legend(frameon=False, loc="upper right")


def shock(axes: list[Axes], runs: dict[str, Recording]) -> None:
    """Plot loss, gradient and dead features at every iteration around the break."""
    loss, gradient, dead = axes
    for colour, run in runs.items():
        loss.semilogy(run.iterations[NEAR], run.series("loss")[NEAR], color=colour, marker=".")
        norm = np.linalg.norm(run.stat("gradient_l2").values[NEAR], axis=1)
        gradient.semilogy(run.iterations[NEAR], norm, color=colour, marker=".")
        zeros = run.activation("zero_fraction")
        watched = (zeros.iterations >= NEAR.start) & (zeros.iterations < NEAR.stop)
        dead.plot(zeros.iterations[watched], 100 * zeros[FEATURES][watched], color=colour, marker=".")
    loss.axhline(UNIFORM, color=GUIDE, linestyle=":", linewidth=1)
    loss.set_yticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    loss.minorticks_off()
    dead.set_ylim(None, 101)
    loss.text(BREAK + 1, 80, "the scans", color=GUIDE)
    for panel, title in zip(axes, ("loss", "gradient, l2 norm", f"zeros in {FEATURES}, %"), strict=True):
        panel.axvline(BREAK, color=GUIDE, linewidth=1, zorder=0)
        panel.set(xlabel="iteration", title=title)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw story.png and shock.png.")
    parser.add_argument("quick", type=Path, help="run directory of quick_solver.prototxt")
    parser.add_argument("healthy", type=Path, help="run directory of healthy_solver.prototxt")
    parser.add_argument("--out", type=Path, default=HERE, metavar="DIR", help="default: next to this script")
    options = parser.parse_args()
    plt.rcParams |= {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.titlesize": 9}
    with Recording(options.quick) as quick, Recording(options.healthy) as healthy:
        runs = {HEALTHY: healthy, BROKEN: quick}
        figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
        story(axes, runs)
        figure.savefig(options.out / "story.png", dpi=110)
        figure, panels = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
        shock(list(panels), runs)
        figure.savefig(options.out / "shock.png", dpi=110)


if __name__ == "__main__":
    main()
