"""The BLAS library that Caffe computes with in this process."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any


def blas() -> dict[str, Any]:
    """What OpenBLAS says it runs on: other kernels, or another number of threads, give other bits."""
    try:
        library = ctypes.CDLL("libopenblas.so.0")
    except OSError:
        return {}  # a Caffe on another BLAS
    library.openblas_get_corename.restype = ctypes.c_char_p
    return {"core": library.openblas_get_corename().decode(), "threads": library.openblas_get_num_threads()}


def other_kernels(then: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """OpenBLAS says what it runs on only once it is loaded: `then` and `now` are a snapshot's `blas` and this one's."""
    old, new = (blas.get("core") for blas in (then, now))
    return f"OpenBLAS kernels for {new} instead of {old}" if old and old != new else None
