"""Apply the rules to what the worker sends, and review its snapshots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.diagnosis.live.health import Health
from harness.errors import BadInput
from harness.recording.snapshots import note_health, remove
from harness.schemas.events import Activations, Event, Frames, SnapshotTaken
from harness.schemas.layout import ACTIVATION_STATS, Alarm, Layout
from harness.schemas.outcome import Divergence


class HealthMonitor:
    """Passes the events of a run to `health`. Snapshots lie in `directory`; the newest `keep` stay (None: all)."""

    def __init__(self, health: Health, directory: Path, keep: int | None) -> None:
        self._health, self.directory, self._keep = health, directory, keep
        self._layout: Layout | None = None
        self._frames: list[npt.NDArray[np.void]] = []
        self._activations: list[Activations] = []
        self._snapshots: dict[int, Path] = {}  # by iteration, the JSON beside each
        self._new_snapshots: dict[int, Path] = {}

    def receive(self, event: Event) -> None:
        """Receive an event from the worker."""
        if isinstance(event, Layout):
            self._layout = event
            self._health.begin(event)
        elif isinstance(event, Frames):
            self._frames.append(event.rows)
        elif isinstance(event, Activations):
            self._activations.append(event)
        elif isinstance(event, SnapshotTaken):
            self._new_snapshots[event.iteration] = self.directory / event.info

    def alarms(self) -> tuple[Sequence[Alarm], list[Alarm]]:
        """Return the alarms of all that was received since the last call, and those of them that are divergences."""
        if self._layout is None or not (self._frames or self._activations):
            return [], []
        frames = np.concatenate([np.empty(0, self._layout.frame_dtype), *self._frames])
        iterations = [iteration for part in self._activations for iteration in part.iterations]
        nothing = np.empty((0, len(self._layout.activations), len(ACTIVATION_STATS)))
        values = np.concatenate([nothing, *(part.values for part in self._activations)])
        alarms = self._health.take(frames, iterations, values)
        self._frames, self._activations = [], []
        return alarms, [alarm for alarm in alarms if self._health.stops(alarm)]

    @property
    def next(self) -> int:
        """The first iteration to which the rules were not applied yet."""
        return self._health.last + 1

    def divergence(self, alarm: Alarm | None) -> Divergence | None:
        """Return the divergence that lasts, or that `alarm` stopped the run for."""
        if self._layout is None:
            return None
        # one that arrived with the iterations that diverged has not been reviewed yet
        return self._health.divergence([*self._snapshots, *self._new_snapshots], alarm)

    def review_snapshots(self, message: Callable[[str], None]) -> None:
        """Write beside the new snapshots how healthy the run is, and remove old ones; `message` receives failures."""
        if not self._new_snapshots:
            return
        try:
            verdict = self._health.verdict()
            for path in self._new_snapshots.values():
                note_health(path, verdict)
            self._snapshots |= self._new_snapshots
            if self._keep is not None:
                kept = self._health.kept(list(self._snapshots), self._keep)
                for iteration in self._snapshots.keys() - kept:
                    remove(self._snapshots.pop(iteration))
        except (BadInput, OSError) as error:  # the snapshots themselves are whole
            message(f"The health of a snapshot was not written, or an old one not removed: {error}")
        self._new_snapshots = {}
