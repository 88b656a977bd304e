"""Compute the distributions and the largest elements of weights, gradients and updates kept in a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.diagnosis.robust_stats import Floats, Ints
from harness.recording import Recording, RecordingError
from harness.schemas.layout import Param
from harness.schemas.window import Window, merge

Kind = Literal["weight", "gradient"]
KINDS: tuple[Kind, ...] = ("weight", "gradient")
SORTED_BY = ("gradient", "weight", "update")  # elements are sorted by the first of these that was kept
_LEAST_DECADES = 2
_BINS_A_DECADE, _MOST_BINS = 8, 120
_SMALL = 0.002  # share of the elements other than 0 that may fall into the lowest bin


@dataclass(frozen=True)
class Spectrum:
    """The magnitudes of a blob's elements at one iteration: `share[i]` of them lie in 10^edges[i] … 10^edges[i+1].

    The shares, `zero` (exactly 0) and `nonfinite` add up to 1.
    """

    iteration: int
    share: Floats
    zero: float
    nonfinite: float
    largest: float


@dataclass(frozen=True)
class Distribution:
    """Spectra of a param blob at some iterations, over common `edges` (decimal logarithms)."""

    param: str
    kind: Kind
    edges: Floats  # (B + 1,)
    spectra: tuple[Spectrum, ...]

    @property
    def change(self) -> tuple[Spectrum, Spectrum]:
        """The spectra to compare: of gradients the first two (before the onset, and at it), of weights those before and
        after the update of the onset."""
        first = 1 if self.kind == "weight" and len(self.spectra) > 2 else 0
        return self.spectra[first], self.spectra[min(first + 1, len(self.spectra) - 1)]


@dataclass(frozen=True)
class Element:
    """One element of a param blob at one iteration; None for what was not kept."""

    index: tuple[int, ...]
    weight: float | None
    gradient: float | None
    update: float | None


def moments_of(kept: Ints, onset: int | None) -> tuple[int, ...]:
    """Choose the iterations of a window to compare: before the onset, at it, after it, and the last.

    In a window without an onset these are the first, the middle and the last iteration.

    Args:
        kept: (W,) the iterations of all windows.
    """
    if not len(kept):
        return ()
    if onset is None or onset not in kept:
        return tuple(dict.fromkeys(int(kept[i]) for i in (0, len(kept) // 2, -1)))
    window = next(window for window in merge(Window(int(t), int(t) + 1) for t in kept) if onset in window)
    wanted = (max(window.start, onset - 1), onset, min(onset + 1, window.stop - 1), window.stop - 1)
    return tuple(dict.fromkeys(wanted))


def distribution(recording: Recording, param: Param, kind: Kind, moments: Sequence[int]) -> Distribution | None:
    """Compute the distribution of a param blob at `moments`; None where `kind` was left out of --capture."""
    try:
        arrays = [getattr(recording, kind)(t, param.layer, param.index).ravel() for t in moments]
    except RecordingError:
        return None
    magnitudes = [_magnitudes(array) for array in arrays]
    edges = _edges(magnitudes)
    spectra = (_spectrum(*of, edges) for of in zip(moments, arrays, magnitudes, strict=True))
    return Distribution(param.label, kind, edges, tuple(spectra))


def largest_elements(recording: Recording, param: Param, iteration: int, count: int) -> tuple[Element, ...]:
    """Return the elements with the largest gradient (or weight, where no gradient was kept), largest first."""
    arrays = {}
    for kind in ("weight", "gradient", "update"):
        try:
            arrays[kind] = getattr(recording, kind)(iteration, param.layer, param.index)
        except RecordingError:
            arrays[kind] = None
    by = next((arrays[kind] for kind in SORTED_BY if arrays[kind] is not None), None)
    if by is None:
        return ()
    order = np.argsort(-np.where(np.isnan(by), np.inf, np.abs(by)), axis=None, kind="stable")[:count]
    places = [tuple(map(int, np.unravel_index(i, by.shape))) for i in order]
    return tuple(Element(place, *(None if a is None else float(a[place]) for a in arrays.values())) for place in places)


def _magnitudes(array: npt.NDArray[np.float32]) -> Floats:
    """Return the decimal logarithms of the elements that are finite and not 0."""
    return np.asarray(np.log10(np.abs(array[np.isfinite(array) & (array != 0)]).astype(np.float64)))


def _edges(magnitudes: Sequence[Floats]) -> Floats:
    known = [magnitude for magnitude in magnitudes if len(magnitude)]
    high = int(np.floor(max((float(magnitude.max()) for magnitude in known), default=-1.0))) + 1
    low = int(np.floor(min((float(np.quantile(magnitude, _SMALL)) for magnitude in known), default=high)))
    decades = max(high - low, _LEAST_DECADES)
    return np.linspace(high - decades, high, min(decades * _BINS_A_DECADE, _MOST_BINS) + 1)


def _spectrum(iteration: int, array: npt.NDArray[np.float32], magnitudes: Floats, edges: Floats) -> Spectrum:
    counts, _ = np.histogram(np.clip(magnitudes, edges[0], np.nextafter(edges[-1], -np.inf)), edges)
    total = max(1, array.size)
    zero, bad = int((array == 0).sum()), int((~np.isfinite(array)).sum())
    largest = 10.0 ** float(magnitudes.max()) if len(magnitudes) else 0.0
    return Spectrum(iteration, counts / total, zero / total, bad / total, largest)
