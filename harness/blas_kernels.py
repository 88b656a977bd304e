"""OpenBLAS kernels: those for one processor give other bits than those for another, which may be able to run them too.

A newer processor runs the kernels for an older one, so that a training that was recorded there continues bit for bit.
OpenBLAS takes the kernels that OPENBLAS_CORETYPE names (dynamic.c), without asking whether the processor has their
instructions.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

CORETYPE = "OPENBLAS_CORETYPE"
_AVX512 = {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}
_NEEDED = {  # by the name that OpenBLAS reports: flags of the processor, as Linux names them
    "Nehalem": {"sse4_2"},
    "Sandybridge": {"avx"},
    "Haswell": {"avx2", "fma"},
    "Zen": {"avx2", "fma"},
    "SkylakeX": _AVX512,
    "Cooperlake": {*_AVX512, "avx512_bf16"},
}
_CPUINFO = Path("/proc/cpuinfo")


def choice(core: str | None) -> dict[str, str]:
    """Return the environment variable with which OpenBLAS takes the kernels `core`.

    It is empty where the user has chosen others, and where this processor is not known to run them.
    """
    return {CORETYPE: core} if core is not None and CORETYPE not in os.environ and runs_here(core) else {}


def runs_here(core: str) -> bool:
    """Check whether this processor is known to have the instructions of the kernels `core`."""
    return core in _NEEDED and _NEEDED[core] <= _flags()


@cache
def _flags() -> frozenset[str]:
    with suppress(OSError):
        found = re.search(r"^flags\s*:(.*)$", _CPUINFO.read_text(errors="replace"), re.MULTILINE)
        if found:
            return frozenset(found[1].split())
    return frozenset()
