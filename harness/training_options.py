"""Options of the commands that train. Few modules are imported here: see `WaitingWorker` (supervisor.spawn)."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.schemas.captures import CAPTURES

EXIT_CODES = """
Exit codes: 0 done, 1 the recording could not be written any further, 2 bad input (nothing was trained),
3 diverged and stopped (--on-alarm), 4 the worker, which runs Caffe, died, 130 interrupted.
"""


def add_options(parser: argparse.ArgumentParser, default_out: str) -> None:
    """Add the options of every run, however it starts. `default_out` describes the run directory without --out."""
    how = parser.add_argument_group("how to run")
    device = how.add_mutually_exclusive_group()
    device.add_argument("--cpu", action="store_true", help="run on the CPU, whatever the solver says")
    device.add_argument("--gpu", type=int, metavar="N", help="run on GPU N")
    how.add_argument("--until", type=int, metavar="N", help="stop at iteration N (default: the solver's max_iter)")
    how.add_argument(
        "--seed", type=int, metavar="N", help="random seed (default: the solver's random_seed, else one is drawn)"
    )
    how.add_argument(
        "--data",
        choices=("exact", "caffe"),
        default="exact",
        help="where a resumed run continues in its data and random numbers: exactly where the old run was, or at the "
        "first record as caffe train does (default: %(default)s)",
    )
    how.add_argument(
        "--skip-records",
        metavar="KEYS",
        help="leave these records of the training data out for good, also in all restarts: the next ones follow in "
        "their place. Keys of an LMDB (or the path in a key of convert_imageset), paths of a list of images, FILE:ROW "
        "of HDF5 files; separated by commas or line breaks, or @FILE with one a line",
    )
    how.add_argument(
        "--on-alarm",
        choices=("non_finite", "stop", "rescue", "continue"),
        default="non_finite",
        help="at which divergence to take a snapshot and stop: at the first NaN or infinity, at any that a rule finds, "
        "at any and then go on as `rescue` does, or never. Caffe cannot train on after a NaN: it spreads to every "
        "weight, and where it reaches a MAX pooling layer, Caffe writes outside of its memory, and crashes sooner or "
        "later (default: %(default)s)",
    )
    how.add_argument(
        "--budget",
        metavar="LIMIT",
        help="with --on-alarm rescue: for finding out why it broke, as for `explain`",
    )
    how.add_argument(
        "--on-alarm-exec",
        metavar="CMD",
        help="command for the shell, started once when a rule finds a divergence, whether the run stops or "
        "not. The training does not wait for it. Its environment has CAFFE_HARNESS_RUN, _ITERATION, _RULE, _MESSAGE "
        "and _ONSET; its output goes to DIR/on-alarm-exec.log",
    )
    how.add_argument(
        "--on-hangup",
        choices=("continue", "stop"),
        default="continue",
        help="what to do when the terminal is closed (SIGHUP): continue without it, or take a snapshot and stop "
        "(default: %(default)s)",
    )
    how.add_argument(
        "--rules",
        type=Path,
        metavar="FILE",
        help="limits of the alarm rules: a changed copy of harness/diagnosis/thresholds.toml",
    )

    keep = parser.add_argument_group("what to record")
    keep.add_argument(
        "--watch",
        action="append",
        default=[],
        metavar="A:B",
        help="record all weights, gradients, updates and inputs of iterations A … B-1; may be given several times",
    )
    keep.add_argument(
        "--capture",
        default=",".join(CAPTURES),
        metavar="LIST",
        help="the arrays that --watch records: some of weight, gradient, update, input and history (the solver's, with "
        "which every iteration of a window can be restarted, whatever the type of the solver; default: %(default)s)",
    )
    keep.add_argument("--out", type=Path, metavar="DIR", help=f"run directory (default: {default_out})")
    keep.add_argument("--snapshot-every", type=int, metavar="N", help="snapshot interval (default: the solver's)")
    keep.add_argument(
        "--keep-snapshots",
        type=int,
        metavar="N",
        help="keep the newest N snapshots, and in any case the last good one (default: all)",
    )
    keep.add_argument(
        "--tensorboard",
        action="store_true",
        help="also write losses, norms and (in windows) histograms for TensorBoard, to DIR/tensorboard/",
    )
    keep.add_argument(
        "--black-box-mib",
        type=int,
        default=256,
        metavar="MIB",
        help="memory for the most recent iterations: at a divergence, those around it become a window; 0 switches this "
        "off (default: %(default)s)",
    )
    keep.add_argument(
        "--ring-mib",
        type=int,
        default=128,
        metavar="MIB",
        help="size of the ring buffer between worker and supervisor (default: %(default)s)",
    )
