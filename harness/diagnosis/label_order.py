"""Recognise records sorted by their class, from the smallest and the largest label of each batch.

Of records in random order, neighbouring batches have nothing in common. Two signs show that they have:

- runs: many batches in a row hold one label only, which others do not;
- a trend: the labels move from batch to batch by far less than they differ overall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.diagnosis.robust_stats import Floats, Ints

_FEWEST = 10  # batches outside of a run, to know how common its label is
_UNSEEN = 3  # batches of a label that chance may have kept back
_BLOCK, _SHORTEST = 200, 100  # batches in which a trend shows
_APART, _ALIKE = 0.2, 0.6  # correlations
_RESETS = 0.9  # share of the steps between batches that count: an epoch ends in a large one


@dataclass(frozen=True)
class Run:
    """Iterations `first` … `last` with one label only; `expected`: so many in a row chance might give."""

    first: int
    last: int
    label: float
    expected: float

    @property
    def length(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Trend:
    """Iterations `first` … `last` in which labels move by `share` of what records in random order would."""

    first: int
    last: int
    share: float


def long_runs(iterations: Ints, low: Floats, high: Floats, surprise: float) -> list[Run]:
    """Find runs of batches with one label, whose length has a probability of exp(-surprise) or less by chance.

    Args:
        iterations: (n,) consecutive ones.
        low, high: (n,) the smallest and the largest label of each batch.
    """
    count = len(iterations)
    change = np.flatnonzero((low[1:] != low[:-1]) | (high[1:] != high[:-1])) + 1
    starts, stops = np.append(0, change)[:count], np.append(change, count)[:count]
    single = low[starts] == high[starts]
    batches = stops - starts
    labels, which = np.unique(low[starts], return_inverse=True)
    total = np.bincount(which, batches * single, len(labels))[which]  # batches of that label alone
    outside = count - batches
    with np.errstate(divide="ignore"):
        common = (total - batches * single + _UNSEEN) / (outside + _UNSEEN)
        expected = surprise / -np.log(np.minimum(common, 1.0))
    found = np.flatnonzero(single & (outside >= _FEWEST) & (batches > expected))
    return [
        Run(int(iterations[starts[k]]), int(iterations[stops[k] - 1]), float(low[starts[k]]), float(expected[k]))
        for k in found
    ]


def trends(iterations: Ints, low: Floats, high: Floats, largest: float) -> list[Trend]:
    """Find blocks of batches whose labels move by at most the share `largest`; the arguments are those of `long_runs`.

    A batch is taken to be at the middle of its labels.
    """
    middle = (low + high) / 2
    found = []
    for start in range(0, len(middle), _BLOCK):
        block = middle[start : start + _BLOCK]
        if len(block) < _SHORTEST or not np.isfinite(block).all():
            continue
        often = np.unique(block, return_counts=True)[1] / len(block)
        if np.sum(often**2) > 0.5:  # too few different ones
            continue
        steps = np.sort(np.abs(np.diff(block)))[: int(_RESETS * (len(block) - 1))]
        share = float(steps.mean() / _mean_difference(block))
        if share <= largest:
            found.append(Trend(int(iterations[start]), int(iterations[start + len(block) - 1]), share))
    return found


def period_of(values: Floats) -> int | None:
    """Return the number of iterations after which values (n,) repeat; None where they do not, or not twice.

    It is the first peak of their autocorrelation after this has fallen.
    """
    finite = np.isfinite(values)
    if finite.sum() < 4 or not np.std(values[finite]) > 0:
        return None
    count = len(values)
    centred = np.where(finite, values - np.mean(values[finite]), 0.0)
    spectrum = np.abs(np.fft.rfft(centred, 1 << (2 * count - 1).bit_length())) ** 2
    shifts = np.arange(count // 2 + 1)
    similar = np.fft.irfft(spectrum)[: len(shifts)]
    similar *= count / (count - shifts) / similar[0]
    apart = np.flatnonzero(similar < _APART)
    if not len(apart):
        return None
    peak = int(apart[0]) + int(np.argmax(similar[apart[0] :] >= max(_ALIKE, 0.95 * similar[apart[0] :].max())))
    if similar[peak] < _ALIKE:
        return None
    while peak + 1 < len(similar) and similar[peak + 1] > similar[peak]:
        peak += 1
    return peak


def repeats_after(values: Floats, period: int) -> bool:
    """Check whether values (n,) are alike after `period` iterations, by the correlation of their ranks."""
    if len(values) < 2 * period:
        return False
    one, two = values[:-period], values[period:]
    known = np.isfinite(one) & np.isfinite(two)
    if known.sum() < 2:
        return False
    first, second = (np.argsort(np.argsort(part[known], kind="stable")) for part in (one, two))
    return bool(np.corrcoef(first, second)[0, 1] >= _ALIKE)


def _mean_difference(values: Floats) -> float:
    """Return the mean of |x - y| over all pairs of different values' positions (Gini's mean difference)."""
    count = len(values)
    ranks = 2 * np.arange(1, count + 1) - count - 1
    return float(2 * np.sum(ranks * np.sort(values)) / (count * (count - 1)))
