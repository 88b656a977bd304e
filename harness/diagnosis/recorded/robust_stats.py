"""What was usual for a number, and how far another one lies from that."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SIGMA = 1.4826  # standard deviations in a median absolute deviation, of normal noise
LEAST = 0.15  # in logarithms: what the spread of no gradient or activation is taken to be below


def logarithm(values: Floats) -> Floats:
    """Natural, of sizes; zero counts as 1e-30."""
    with np.errstate(all="ignore"):
        return np.log(np.maximum(values, 1e-30))


def distance(usual: Floats, now: Floats, least: float = LEAST) -> Floats:
    """How many standard deviations `now` (…, P) lies above the median of what was `usual` (n, P), column by column."""
    centre = np.median(usual, axis=0)
    return np.asarray((now - centre) / np.maximum(SIGMA * np.median(np.abs(usual - centre), axis=0), least))
