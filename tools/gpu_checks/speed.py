"""What recording costs: the same training with and without the harness, a few iterations each in turn."""

from __future__ import annotations

import shutil

import numpy as np

from tools.bench.rows import median
from tools.bench.turns import Comparison, LaneDied, compare
from tools.gpu_checks.place import Place
from tools.gpu_checks.results import Ratio, Result, Unexpected


def measure(place: Place, net: str, window: bool) -> Result:
    """Measure how much longer `net` trains when every iteration is recorded, or also captured in a window."""
    timed = place.timed(net)
    home = place.home / f"ratio-{net}{'-window' if window else ''}"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    try:
        (compared,) = compare(home, timed.write(home), timed.turn, timed.pairs, window=window, gpu=place.gpu)
    except LaneDied as died:
        raise Unexpected("a training ended too early", str(died)) from None
    finally:
        shutil.rmtree(home, ignore_errors=True)  # a window has gigabytes
    return Result("measured", "", ratio=ratio_of(timed.name, window, compared))


def ratio_of(net: str, window: bool, compared: Comparison) -> Ratio:
    """Return the median of the ratios of neighbouring turns."""
    low, value, high = median(compared.ratios)
    detail = (
        f"{len(compared.ratios)} pairs of {compared.turn} iterations; two turns of plain pycaffe differ by "
        f"{compared.noise:.1%}"
    )
    what = f"{net}, all of it captured in a window" if window else f"{net}, every iteration recorded"
    return Ratio(what, 1000 * float(np.median(compared.bare)) / compared.turn, value, low, high, detail)
