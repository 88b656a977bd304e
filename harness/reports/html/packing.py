"""Arrays in compact form for a page, without the digits that no reader would see."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import plotly

from harness.rounding import rounded

_MANTISSA_BITS = 14  # that are kept: 4 significant digits


@dataclass
class Arrays:
    """Collects arrays and gives out a reference to each: its offset and length in 4-byte values, and its kind."""

    _parts: list[npt.NDArray[np.uint32]] = field(default_factory=list)
    _length: int = 0

    def add(self, values: npt.NDArray[np.generic] | list[float]) -> dict[str, int | str]:
        """Add an array. Integers (up to 2^31) are kept exactly, floats to four digits."""
        array = np.asarray(values)
        if array.dtype.kind in "iub":
            kind, bits = "i", array.astype(np.int32).ravel().view(np.uint32)
        else:
            with np.errstate(over="ignore"):
                kind, bits = "f", rounded(array.astype(np.float32).ravel(), _MANTISSA_BITS).view(np.uint32)
        reference: dict[str, int | str] = {"at": self._length, "length": len(bits), "kind": kind}
        self._parts.append(bits)
        self._length += len(bits)
        return reference

    def packed(self) -> str:
        """Pack all arrays, compressed, as base64.

        The lowest byte of every value comes first, then the second of every value, and so on: that compresses better.
        """
        words = np.concatenate([np.empty(0, np.uint32), *self._parts]).astype("<u4")
        planes = np.ascontiguousarray(words.view(np.uint8).reshape(-1, 4).T)
        return _base64(gzip.compress(planes.tobytes(), 6, mtime=0))


@cache
def plotly_js() -> str:
    """Pack plotly.js as a page contains it: compressed, base64."""
    script = Path(plotly.__file__).with_name("package_data") / "plotly.min.js"
    return _base64(gzip.compress(script.read_bytes(), 9, mtime=0))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
