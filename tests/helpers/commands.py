"""The harness and `caffe train`, as a user starts them."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.helpers.paths import BIN, ROOT
from tests.helpers.processes import Finished, command


def run_harness(*arguments: object, cwd: Path = ROOT, timeout: float = 300, **environment: str) -> Finished:
    """`python harness/run.py` with `arguments`."""
    return command(sys.executable, ROOT / "harness/run.py", *arguments, cwd=cwd, timeout=timeout, **environment)


def restart(*arguments: object, cwd: Path = ROOT, timeout: float = 300) -> Finished:
    """`python harness/restart.py` with `arguments`."""
    return command(sys.executable, ROOT / "harness/restart.py", *arguments, cwd=cwd, timeout=timeout)


def caffe_train(solver: Path, *arguments: object, cwd: Path = ROOT) -> str:
    """The log of a plain `caffe train` that must succeed."""
    done = command(BIN / "caffe", "train", f"--solver={solver}", *arguments, cwd=cwd)
    assert done.code == 0, done.stderr[-2000:]
    return done.stderr
