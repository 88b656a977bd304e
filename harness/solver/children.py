"""What the processes that this package starts have in common."""

from __future__ import annotations

import os
from pathlib import Path

import harness


def environment(blas_threads: int) -> dict[str, str]:
    """This process's environment for a child: it finds the harness wherever it is started, and BLAS has its threads."""
    paths = [str(Path(harness.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": str(blas_threads)}
