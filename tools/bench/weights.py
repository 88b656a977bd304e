"""The norms and the digest of the weights, compared with the norms and the digest XXH3 of 0.2.0 and older."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.caffe_files.weight_digest import digest_of
from harness.worker.probes.moments import Moments, WeightMoments
from tools.bench.rows import Effort, Row, median

_NETS = {"glyphs280": (52, 230_436), "LeNet": (8, 431_080), "GoogLeNet": (128, 11_200_000)}  # blobs, their elements
_BYTES = 2e8  # measured in a turn


def rows(name: str, home: Path, effort: Effort) -> Iterator[Row]:
    """Measure blobs of the number and mean size of those of three nets, in turns."""
    random = np.random.default_rng(0)
    for net, (blobs, elements) in _NETS.items():
        weights = [random.random(elements // blobs, np.float32) for _ in range(blobs)]
        norms, both = Moments("norms", weights), WeightMoments(weights)
        calls = max(2, int(_BYTES / (4 * elements)))
        pairs = [
            (_seconds(lambda: _with_xxh3(norms, weights), calls), _seconds(both.measure, calls))  # noqa: B023
            for _ in range(effort.of(20))
        ]
        low, value, high = median([now / before for before, now in pairs])
        before, now = (1e6 * float(np.median(seconds)) for seconds in zip(*pairs, strict=True))
        detail = f"{blobs} blobs, {4e-6 * elements:.1f} MB: {before:.0f} µs with XXH3, {now:.0f} µs now"
        what = f"norms and digest of the weights, {net}"
        yield Row(name, what, value, "× norms and XXH3", 1.0, True, low, high, detail, {"seconds": pairs})


def _with_xxh3(norms: Moments, weights: Sequence[npt.NDArray[np.float32]]) -> None:
    norms.measure()
    digest_of(weights, "xxh3")


def _seconds(call: Callable[[], object], calls: int) -> float:
    """Return the CPU seconds of a call."""
    started = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - started) / calls
