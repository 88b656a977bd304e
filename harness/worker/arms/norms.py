"""Norms of layers: those of their own param blobs, put together."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from harness.worker.probes.blobs import ParamProbe


class LayerNorms:
    """Measures the norms of the layers that own the blobs of `params`, by their names."""

    def __init__(self, params: ParamProbe) -> None:
        self._params = params
        self._names = list(dict.fromkeys(param.layer for param in params.params))
        self._layer = np.array([self._names.index(param.layer) for param in params.params], np.intp)

    @property
    def unknown(self) -> dict[str, float]:
        """NaN for each layer."""
        return dict.fromkeys(self._names, math.nan)

    def of_layers(self, norms: npt.NDArray[np.float64]) -> dict[str, float]:
        """Put the l2 norms of the blobs together, layer by layer."""
        squares = np.bincount(self._layer, np.square(norms), len(self._names))
        return dict(zip(self._names, np.sqrt(squares).tolist(), strict=True))
