"""What becomes of what a judge finds: his alarms of what was recorded, his verdict beside every snapshot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from harness.recording.snapshots import note_health, remove
from harness.schemas.events import Activations, Event, Frames, Note
from harness.schemas.layout import ACTIVATION_STATS, Alarm, Layout
from harness.schemas.outcome import Divergence


class Judge(Protocol):
    """Whoever knows how healthy a run is."""

    def begin(self, layout: Layout) -> None: ...

    def take(
        self, frames: npt.NDArray[np.void], taken: Sequence[int], values: npt.NDArray[np.float64]
    ) -> Sequence[Alarm]: ...

    def stops(self, alarm: Alarm) -> bool: ...

    @property
    def last(self) -> int: ...

    def verdict(self) -> dict[str, Any]: ...

    def divergence(self, snapshots: Sequence[int], alarm: Alarm | None) -> Divergence | None: ...

    def kept(self, snapshots: Sequence[int], newest: int) -> set[int]: ...


class Judging:
    """Shows the events of a run to `judge`. Snapshots lie in `directory`; the newest `keep` stay (None: all)."""

    def __init__(self, judge: Judge, directory: Path, keep: int | None) -> None:
        self._judge, self._directory, self._keep = judge, directory, keep
        self._layout: Layout | None = None
        self._frames: list[npt.NDArray[np.void]] = []
        self._looks: list[Activations] = []
        self._snapshots: dict[int, Path] = {}  # by iteration, the JSON beside each
        self._unjudged: dict[int, Path] = {}  # new ones

    def see(self, event: Event) -> None:
        """Something came from the solver process."""
        if isinstance(event, Layout):
            self._layout = event
            self._judge.begin(event)
        elif isinstance(event, Frames):
            self._frames.append(event.rows)
        elif isinstance(event, Activations):
            self._looks.append(event)
        elif isinstance(event, Note) and event.what == "snapshot":
            self._unjudged[event.facts["iteration"]] = self._directory / event.facts["about"]

    def alarms(self) -> tuple[Sequence[Alarm], list[Alarm]]:
        """The alarms of all that was seen since the last call, and those of them that are a divergence."""
        if self._layout is None or not (self._frames or self._looks):
            return [], []
        frames = np.concatenate([np.empty(0, self._layout.frame_dtype), *self._frames])
        taken = [iteration for look in self._looks for iteration in look.iterations]
        nothing = np.empty((0, len(self._layout.activations), len(ACTIVATION_STATS)))
        found = self._judge.take(frames, taken, np.concatenate([nothing, *(look.values for look in self._looks)]))
        self._frames, self._looks = [], []
        return found, [alarm for alarm in found if self._judge.stops(alarm)]

    @property
    def next(self) -> int:
        """The first iteration that was not judged yet."""
        return self._judge.last + 1

    def divergence(self, alarm: Alarm | None) -> Divergence | None:
        """The divergence that stands, or that `alarm` stopped the run for."""
        return self._judge.divergence(list(self._snapshots), alarm) if self._layout is not None else None

    def judge_snapshots(self, say: Callable[[str], None]) -> None:
        """Write beside the new snapshots how healthy the run is, and remove old ones."""
        if not self._unjudged:
            return
        try:
            verdict = self._judge.verdict()
            for path in self._unjudged.values():
                note_health(path, verdict)
            self._snapshots |= self._unjudged
            if self._keep is not None:
                kept = self._judge.kept(list(self._snapshots), self._keep)
                for iteration in self._snapshots.keys() - kept:
                    remove(self._snapshots.pop(iteration))
        except OSError as error:  # the snapshots themselves are whole
            say(f"{error.filename}: a snapshot was not judged, or not removed ({error.strerror})")
        self._unjudged = {}
