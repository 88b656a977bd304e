"""Expensive fixtures, made once for all workers of pytest-xdist."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a path at which `make` has made something, once for all workers of pytest-xdist: the others wait.

    Nobody may change what lies there.
    """
    home = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent  # the workers' directories are next to each other
    home /= "shared"
    home.mkdir(exist_ok=True)
    path, done = home / name, home / f"{name}.done"
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(path, ignore_errors=True)  # left by a worker that failed: the same error is raised again
            make(path)
            done.touch()
    return path
