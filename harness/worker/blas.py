"""The BLAS library that Caffe computes with in this process."""

from __future__ import annotations

import ctypes

from harness.schemas.run_info import Blas


def loaded_blas() -> Blas:
    """Ask OpenBLAS what it runs on. Other kernels, or another number of threads, give other bits."""
    try:
        library = ctypes.CDLL("libopenblas.so.0")
    except OSError:
        return Blas()  # a Caffe on another BLAS
    library.openblas_get_corename.restype = ctypes.c_char_p
    return Blas(library.openblas_get_corename().decode(), library.openblas_get_num_threads())


def other_kernels(then: Blas, now: Blas) -> str | None:
    """Say that OpenBLAS runs on other kernels `now` than `then`; None if it does not, or if that is not known."""
    return f"OpenBLAS kernels for {now.core} instead of {then.core}" if then.core and then.core != now.core else None
