"""Options that say what a restart changes in a training: those of restart.py, and of a candidate of rescue.py."""

from __future__ import annotations

import argparse

from harness.caffe_files.solverstate import HISTORY_MODES


def add_change_options(parser: argparse._ActionsContainer) -> None:
    """Add --set, --set-layer, --history and --skip."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set a field of the solver; may be given several times",
    )
    parser.add_argument(
        "--set-layer",
        action="append",
        default=[],
        metavar="GLOB:FIELD=VALUE",
        help="set a field of all layers whose names match; may be given several times",
    )
    parser.add_argument(
        "--history",
        choices=HISTORY_MODES,
        default="keep",
        help="what to do with the momentum, which holds learning rate × gradient; rescale multiplies it by "
        "new rate / old rate (default: %(default)s)",
    )
    parser.add_argument(
        "--skip",
        metavar="A:B",
        help="skip the training data of iterations A … B-1, once: their records return in the next epoch, at the "
        "iteration that is shown at the start (--skip-records leaves records out for good)",
    )
