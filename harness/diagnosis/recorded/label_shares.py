"""How often labels are in a batch, compared with the data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_LUCK, _FEWEST = 1e-4, 3  # probability and count from which on a label is unusually frequent


@dataclass(frozen=True)
class LabelShare:
    """Count of a label in a batch, and the count expected by its share of the data set (None: not known)."""

    label: int
    count: int
    expected: float | None


def label_shares(labels: npt.NDArray[np.int64], all_labels: npt.NDArray[np.int32] | None) -> tuple[LabelShare, ...]:
    """Count the labels of a batch, most frequent first, and compare with the data set.

    Labels that are missing are included if at least one image was to be expected.
    """
    values, counts = np.unique(labels, return_counts=True)
    if all_labels is None or not len(all_labels):
        found = [LabelShare(int(value), int(count), None) for value, count in zip(values, counts, strict=True)]
    else:
        known, often = np.unique(all_labels, return_counts=True)
        expected = dict(zip(known.tolist(), (often * (len(labels) / len(all_labels))).tolist(), strict=True))
        there = dict(zip(values.tolist(), counts.tolist(), strict=True))
        shown = there | {label: 0 for label, much in expected.items() if much >= 1 and label not in there}
        found = [LabelShare(label, count, expected.get(label, 0.0)) for label, count in shown.items()]
    return tuple(sorted(found, key=lambda share: -share.count))


def unusual_labels(shares: Sequence[LabelShare], total: int) -> tuple[LabelShare, ...]:
    """Return the labels that are more frequent in a batch of `total` records than chance draws from the data set give.

    They are at least three, and would be as many with a probability of less than 1 in 10,000 (binomial, divided by the
    number of labels).
    """
    limit = _LUCK / max(1, len(shares))
    return tuple(
        share
        for share in shares
        if share.expected is not None
        and share.count >= _FEWEST
        and _at_least(share.count, total, min(1.0, share.expected / total)) < limit
    )


def _at_least(count: int, total: int, probability: float) -> float:
    """Compute the probability of at least `count` successes in `total` trials."""
    return math.fsum(
        math.comb(total, k) * probability**k * (1 - probability) ** (total - k) for k in range(count, total + 1)
    )
