"""How a run fares while it goes on: healthy so far, or diverged from some iteration on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.analysis.last_good import last_good
from harness.analysis.onset import Onset, find_onset, span_of
from harness.recording.layout import STATS

_NONFINITE = list(STATS).index("gradient_nonfinite")
# A divergence is seen only some display intervals after it began; until then a snapshot before it must be there still.
_UNSEEN = 10


class Health:
    """Follows a run from iteration `first`; `display` is its display interval in iterations."""

    def __init__(self, display: int, first: int) -> None:
        self._span, self._first = span_of(display), first
        self._loss: list[float] = []
        self._nonfinite: list[float] = []

    def take(self, rows: npt.NDArray[np.void]) -> None:
        """Iterations that were made: records of Layout.frame_dtype."""
        self._loss += rows["loss"].tolist()
        self._nonfinite += rows["stat"][:, _NONFINITE].sum(axis=1).tolist()

    @property
    def last(self) -> int:
        """The last iteration known."""
        return self._first + len(self._loss) - 1

    def onset(self) -> Onset | None:
        """Where it began to diverge, as far as that can be seen now."""
        iterations = np.arange(self._first, self.last + 1)
        return find_onset(iterations, np.array(self._loss), None, np.array(self._nonfinite)[:, None], self._span)

    def verdict(self) -> dict[str, Any]:
        """What is known so far, for the JSON beside a snapshot."""
        onset = self.onset()
        return {"through": self.last, "onset": asdict(onset) if onset else None}

    def kept(self, snapshots: Sequence[int], newest: int) -> set[int]:
        """The iterations of `snapshots` to keep: the `newest` ones, and all that may turn out to be the last good one.

        Those lie between the last one that is good even if the damage began long before it shows, and the onset.
        """
        onset = self.onset()
        end = self.last if onset is None else onset.iteration
        surely = last_good(snapshots, Onset(end - _UNSEEN * self._span, ""), self._span, self._first, self.last)
        low = surely.iteration if surely else self._first
        return {*sorted(snapshots)[-newest:], *(t for t in snapshots if low <= t and (onset is None or t <= end))}
