"""How a run fares while it goes on: what the rules find, and since when it is no longer healthy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from harness.diagnosis.last_good import last_good
from harness.diagnosis.live.active_alarms import is_active
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.live.messages import sentence
from harness.diagnosis.live.monitor import Monitor
from harness.diagnosis.live.rows import Rows, names_of, no_rows, rows_of
from harness.diagnosis.recorded.evidence_text import norm
from harness.diagnosis.recorded.localize import localize
from harness.diagnosis.recorded.onset import find_onset, span_of
from harness.schemas.layout import ACTIVATION_STATS, Alarm, Layout
from harness.schemas.onset import Onset
from harness.schemas.outcome import Divergence
from harness.schemas.run_info import SnapshotHealth

Floats = npt.NDArray[np.float64]

# A divergence is seen only some display intervals after it began; until then a snapshot before it must be there still.
_UNSEEN = 10
_PLACING = 100  # iterations in which an onset's first blobs are looked for
_LOOKS = 200  # at the activations, that are remembered


class Health:
    """Follows a run from iteration `first`; `display` is its display interval in iterations. `begin` comes first.

    `earlier` are iterations before the first one, of the run that this one goes on from: they say what was usual.
    """

    def __init__(self, display: int, first: int, limits: Limits, earlier: Rows | None = None) -> None:
        self._span, self._first, self._limits = span_of(display), first, limits
        self._earlier = earlier
        self._divergences: list[Alarm] = []
        self._localized: Onset | None = None

    def begin(self, layout: Layout) -> None:
        """The nets are built."""
        self._layout, self._names = layout, names_of(layout)
        self._monitor = Monitor(self._names, self._limits)
        known, self._earlier = self._earlier, None
        if known is None or not known.fits(self._names):
            known = no_rows(self._names)
        self._monitor.remember(known)
        self._loss, self._gradient = known.loss.tolist(), norm(known.gradient_l2).tolist()
        self._nonfinite = known.gradient_nonfinite.sum(axis=1).tolist()
        self._iterations = known.iteration.tolist()
        self._taken, self._values = np.empty(0, np.int64), np.empty((0, len(layout.activations), len(ACTIVATION_STATS)))
        self._looked = 0

    def take(self, frames: npt.NDArray[np.void], taken: Sequence[int], values: Floats) -> list[Alarm]:
        """The alarms of iterations that were made (records of Layout.frame_dtype), and of (S, A, 4) statistics of the
        net's blobs at the iterations `taken`."""
        rows = rows_of(frames, self._layout)
        self._iterations += rows.iteration.tolist()
        self._loss += rows.loss.tolist()
        self._gradient += norm(rows.gradient_l2).tolist()
        self._nonfinite += rows.gradient_nonfinite.sum(axis=1).tolist()
        self._taken = np.append(self._taken, taken).astype(np.int64)
        self._values = np.concatenate([self._values, values])
        # an iteration's activations come before its frame
        known = int(np.searchsorted(self._taken, self.last, side="right"))
        new = slice(self._looked, known)
        alarms = self._monitor.take(rows, self._taken[new], self._values[new])
        diverged = [alarm for alarm in alarms if self.stops(alarm)]
        self._divergences += diverged
        if diverged or (self._localized is not None and self.last - self._localized.iteration < _PLACING):
            self.onset()  # while the iterations around it are still remembered
        drop = max(0, known - _LOOKS)
        self._taken, self._values, self._looked = self._taken[drop:], self._values[drop:], known - drop
        return alarms

    def stops(self, alarm: Alarm) -> bool:
        """Is what it found a divergence?"""
        return self._limits.stops(alarm.rule)

    @property
    def last(self) -> int:
        """The last iteration known."""
        return int(self._iterations[-1]) if self._iterations else self._first - 1

    def onset(self) -> Onset | None:
        """Where it began to diverge, as far as that can be seen now."""
        gradient, nonfinite = np.array(self._gradient)[:, None], np.array(self._nonfinite)[:, None]
        last = self._monitor.recent[-self._span :]
        active = [alarm for alarm in self._divergences if is_active(alarm, last, self._names)]
        iterations, loss = np.array(self._iterations, np.int64), np.array(self._loss)
        onset = find_onset(iterations, loss, gradient, nonfinite, self._span, active=active)
        if onset is None:
            return None
        recent = self._monitor.recent
        if self._localized is None or self._localized.iteration != onset.iteration or not self._localized.is_localized:
            self._localized = localize(
                onset, recent.iteration, recent.gradient_l2, self._taken, self._values, self._names
            )
        return replace(onset, blob=self._localized.blob, param=self._localized.param)

    def verdict(self) -> SnapshotHealth:
        """What is known so far, for the JSON beside a snapshot and for run.json."""
        return SnapshotHealth(self.last, self.onset())

    def divergence(self, snapshots: Sequence[int], alarm: Alarm | None) -> Divergence | None:
        """The divergence that is active now, or that `alarm` stopped the run for; `snapshots` are iterations."""
        onset = self.onset()
        if onset is None and alarm is not None:
            onset = Onset(alarm.iteration, f"{alarm.rule}: {sentence(alarm, self._names)}")
        if onset is None:
            return None
        choice = last_good(snapshots, onset, self._span, self._first, self.last)
        return Divergence(onset, choice.iteration if choice else None)

    def kept(self, snapshots: Sequence[int], newest: int) -> set[int]:
        """The iterations of `snapshots` to keep: the `newest` ones, and all that may turn out to be the last good one.

        Those lie between the last one that is good even if the damage began long before it shows, and the onset.
        """
        onset = self.onset()
        end = self.last if onset is None else onset.iteration
        surely = last_good(snapshots, Onset(end - _UNSEEN * self._span, ""), self._span, self._first, self.last)
        low = surely.iteration if surely else self._first
        return {*sorted(snapshots)[-newest:], *(t for t in snapshots if low <= t and (onset is None or t <= end))}
