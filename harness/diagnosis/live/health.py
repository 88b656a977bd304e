"""Follow the health of a run in progress: its alarms, and since when it is no longer healthy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from harness.diagnosis.last_good import last_good
from harness.diagnosis.live.active_alarms import ActiveAlarms
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.live.messages import sentence
from harness.diagnosis.live.monitor import Monitor
from harness.diagnosis.live.past import Past
from harness.diagnosis.live.rows import FrameReader, Rows, no_rows
from harness.diagnosis.recorded.around_onset import gradient_norms, raised_rate
from harness.diagnosis.recorded.input_evidence import INPUT_ROWS, UnusualInput, unusual_input, with_evidence
from harness.diagnosis.recorded.localize import localize
from harness.diagnosis.recorded.onset import find_onset, span_of
from harness.diagnosis.robust_stats import Floats
from harness.schemas.layout import ACTIVATION_STATS, Alarm, Layout
from harness.schemas.onset import Onset
from harness.schemas.outcome import Divergence
from harness.schemas.run_info import SnapshotHealth

_UNSEEN = 10  # display intervals after which a divergence shows; until then a snapshot from before it must be kept
_LOCALIZING = 100  # iterations after an onset in which its first blobs are looked for
_KEPT = 2 * INPUT_ROWS  # iterations that are kept in full
_PART = 4096  # iterations that are added to the past at once
_LOOKS = 200  # iterations with statistics of activations that are kept


class Health:
    """Follows a run from iteration `first`; `display` is its display interval in iterations. `begin` is called first.

    `earlier` are iterations before the first one, of the run that this one continues: they make a baseline.
    """

    def __init__(self, display: int, first: int, limits: Limits, earlier: Rows | None = None) -> None:
        self._span, self._first, self._limits = span_of(display), first, limits
        self._earlier = earlier
        self._past = Past(self._span)
        self._localized: Onset | None = None
        self._unusual: UnusualInput | None = None

    def begin(self, layout: Layout) -> None:
        """Prepare for the iterations of nets with this layout."""
        self._frames = FrameReader(layout)
        self._names = self._frames.names
        self._monitor = Monitor(self._names, self._limits)
        self._active = ActiveAlarms(self._names, self._span)
        known = no_rows(self._names) if self._earlier is None else self._earlier.with_columns_of(self._names)
        self._earlier = None
        self._monitor.remember(known)
        self._recent = known[-_KEPT:]
        self._past.extend(known)
        self._taken, self._values = np.empty(0, np.int64), np.empty((0, len(layout.activations), len(ACTIVATION_STATS)))
        self._looked = 0  # rows of _values that the monitor has taken

    def take(self, frames: npt.NDArray[np.void], taken: Sequence[int], values: Floats) -> list[Alarm]:
        """Return the alarms of the next iterations.

        Args:
            frames: a structured array of Layout.frame_dtype.
            taken, values: (S, A, 4) statistics of the net's blobs at S iterations.
        """
        rows = self._frames.rows(frames)
        for start in range(0, len(rows), _PART):
            self._remember(rows[start : start + _PART])
        self._recent = self._recent + rows
        self._taken = np.append(self._taken, taken).astype(np.int64)
        self._values = np.concatenate([self._values, values])
        # an iteration's activations arrive before its frame
        known = int(np.searchsorted(self._taken, self.last, side="right"))
        new = slice(self._looked, known)
        alarms = self._monitor.take(rows, self._taken[new], self._values[new])
        diverged = [alarm for alarm in alarms if self.stops(alarm)]
        self._active.take(rows, diverged)
        if diverged or (self._localized is not None and self.last - self._localized.iteration < _LOCALIZING):
            self.onset()  # while the iterations around it are still kept
        self._recent = self._recent[-_KEPT:]
        drop = max(0, known - _LOOKS)
        self._taken, self._values, self._looked = self._taken[drop:], self._values[drop:], known - drop
        return alarms

    def _remember(self, rows: Rows) -> None:
        """Add iterations to the past."""
        if not self._past.room(len(rows)):
            onset = self.onset()
            self._past.thin(None if onset is None else onset.iteration)
        self._past.extend(rows)

    def stops(self, alarm: Alarm) -> bool:
        """Check whether an alarm is of a divergence."""
        return self._limits.stops(alarm.rule)

    @property
    def last(self) -> int:
        """The last iteration known."""
        return self._first - 1 if self._past.last is None else self._past.last

    def onset(self) -> Onset | None:
        """Find the onset as far as it shows now; None for a run that is healthy, or is healthy again."""
        past = self._past.rows
        gradient, nonfinite = past.gradient_l2[:, None], past.nonfinite[:, None]
        onset = find_onset(past.iteration, past.loss, gradient, nonfinite, self._span, active=self._active.now)
        if onset is None:
            return None
        is_new = self._localized is None or self._localized.iteration != onset.iteration
        if is_new or self._localized is None or not self._localized.is_localized:
            recent = self._recent
            self._localized = localize(
                onset, recent.iteration, recent.gradient_l2, self._taken, self._values, self._names
            )
            found = unusual_input(onset.iteration, recent, self._names)
            self._unusual = found if is_new or found is not None else self._unusual
        onset = replace(onset, blob=self._localized.blob, param=self._localized.param)
        return with_evidence(onset, self._unusual)

    def verdict(self) -> SnapshotHealth:
        """Return what is known so far, for the JSON beside a snapshot and for run.json."""
        return SnapshotHealth(self.last, self.onset())

    def divergence(self, snapshots: Sequence[int], alarm: Alarm | None) -> Divergence | None:
        """Return the divergence that is active, or that `alarm` stopped the run for; `snapshots` are iterations."""
        onset = self.onset()
        if onset is None and alarm is not None:
            onset = Onset(alarm.iteration, f"{alarm.rule}: {sentence(alarm, self._names)}")
        if onset is None:
            return None
        choice = last_good(snapshots, onset, self._span, self._first, self.last)
        past, recent = self._past.rows, self._recent
        return Divergence(
            onset,
            choice.iteration if choice else None,
            gradient_norms(past.iteration, past.gradient_l2, onset.iteration),
            raised_rate(recent.iteration, recent.lr, onset.iteration),
        )

    def kept(self, snapshots: Sequence[int], newest: int) -> set[int]:
        """Return the iterations of `snapshots` to keep: the `newest` ones, and all that may be the last good one.

        These lie between the one that is good even if the damage began long before it shows, and the onset.
        """
        onset = self.onset()
        end = self.last if onset is None else onset.iteration
        certain = last_good(snapshots, Onset(end - _UNSEEN * self._span, ""), self._span, self._first, self.last)
        low = certain.iteration if certain else self._first
        return {*sorted(snapshots)[-newest:], *(t for t in snapshots if low <= t and (onset is None or t <= end))}
