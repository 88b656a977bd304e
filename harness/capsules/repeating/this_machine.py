"""Compare what a training computed with and what this machine has: whether it can be expected to give the same bits."""

from __future__ import annotations

import platform
import re
from contextlib import suppress
from pathlib import Path

from harness.blas_kernels import choice
from harness.errors import BadInput
from harness.schemas.run_info import TrainingSetup
from harness.supervisor.device import caffe_build
from harness.worker.blas import loaded_blas, other_kernels

_CPUINFO = Path("/proc/cpuinfo")


def processor() -> str | None:
    """Return the model of this machine's processor; None if the system does not say."""
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", _CPUINFO.read_text(errors="replace"), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or None


def other_arithmetic(setup: TrainingSetup) -> tuple[str, ...]:
    """Say what this machine computes with otherwise than the training of `setup`; nothing: the same bits are expected.

    The number of BLAS threads is not looked at: a restart sets the recorded one.
    """
    found = []
    try:
        here = caffe_build()
    except BadInput:
        return ("Caffe is not installed here",)
    if _without_path(here) != _without_path(setup.caffe):
        then, now = (str(build.get("key", "unknown")) for build in (setup.caffe, here))
        found.append(f"build {now} of Caffe instead of {then}" if then != now else "another build of Caffe")
    if setup.mode != "CPU":
        found.append(f"it was trained on {setup.mode}, whose sums have not been shown to repeat their bits")
    elif setup.blas is None or setup.blas.core is None:
        found.append("the kernels of its BLAS are not known")
    elif not choice(setup.blas.core) and (reason := other_kernels(setup.blas, loaded_blas())) is not None:
        found.append(reason)
    return tuple(found)


def _without_path(build: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in build.items() if name != "path"}
