"""The BLAS library of this process, with which Caffe computes."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping


def blas() -> dict[str, str | int]:
    """Read the kernels (`core`) and the number of threads of OpenBLAS: others give other bits. Empty for other BLAS."""
    try:
        library = ctypes.CDLL("libopenblas.so.0")
    except OSError:
        return {}  # a Caffe on another BLAS
    library.openblas_get_corename.restype = ctypes.c_char_p
    return {"core": library.openblas_get_corename().decode(), "threads": library.openblas_get_num_threads()}


def other_kernels(then: Mapping[str, object], now: Mapping[str, object]) -> str | None:
    """Compare the kernels of a snapshot, `then`, with those of this process, `now`.

    OpenBLAS reports its kernels only once it is loaded, so this is checked in the worker.

    Returns:
        Why the run cannot be exact; None if the kernels are equal or unknown.
    """
    old, new = (blas.get("core") for blas in (then, now))
    return f"OpenBLAS kernels for {new} instead of {old}" if old and old != new else None
