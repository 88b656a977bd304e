"""Does the self-test pass that starts every run on a GPU."""

from __future__ import annotations

from harness.errors import BadInput
from harness.supervisor.device import check_gpu
from tools.gpu_checks.place import Place
from tools.gpu_checks.results import Result


def selftest(place: Place) -> Result:
    """Run harness/worker/gpu_selftest.py: Caffe makes a step, and what the probes read is compared."""
    assert place.gpu is not None
    try:
        card = check_gpu(place.gpu, None)
    except BadInput as error:
        return Result("failed", str(error))
    return Result("passed", f"{card.name} (CuPy {card.cupy}, driver {card.driver}) is read as Caffe reads it.")
