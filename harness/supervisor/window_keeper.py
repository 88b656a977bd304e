"""Keep the iterations around a break: out of the black box, into a window in a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import RecordingFailed
from harness.recording.black_box import BlackBox
from harness.recording.kept_window import KeptWindow
from harness.schemas.layout import Alarm
from harness.schemas.outcome import Divergence
from harness.schemas.window import Window
from harness.supervisor.record_keys import WindowKeys
from harness.supervisor.run_state import RunState

_BEFORE, _AFTER = 10, 10  # iterations before an onset, and after the alarm
_LONGEST = 100  # iterations from an onset to the alarm that are all kept
_LAST = 20  # iterations before the worker died
_MOST = 4  # windows of a run, and one of its last iterations: an endless series of alarms must not fill the disk


class WindowKeeper:
    """Keeps windows of the run `state` out of `box`; `keys` are those of the records that it reads."""

    def __init__(self, box: BlackBox, state: RunState, keys: WindowKeys | None) -> None:
        self._box, self._state = box, state
        self._keys = keys
        self._asked: list[Window] = []
        self._waiting: list[Window] = []  # those that are not in a file yet
        self._open: KeptWindow | None = None  # the first of them

    def receive(self, alarms: Sequence[Alarm], divergences: Sequence[Alarm], divergence: Divergence | None) -> None:
        """Receive new alarms, and the divergence that they show.

        Each divergence is worth a window, and the first explosion of a gradient, which may precede one.
        """
        for alarm in divergences:
            self._ask(divergence.onset.iteration if divergence else alarm.iteration, alarm.iteration)
        for alarm in alarms:
            if alarm.rule == "gradient_explosion" and not self._asked:
                self._ask(alarm.iteration, alarm.iteration)

    def follow(self) -> None:
        """Take what has arrived of the windows; call it after each drain of the ring."""
        while self._waiting and not self._box.is_being_laid_out:
            kept = self._open or self._begin(self._waiting[0])
            if kept is None or not self._take(kept):
                return

    def finish(self, died: bool) -> None:
        """Write what there is of the windows after the worker has ended; if it `died`, its last iterations as well."""
        if died and self._last >= 0:
            self._add(Window(max(0, self._last - _LAST + 1), self._last + 1), self._last)
        self.follow()
        while self._open is not None:
            self._finish(self._open)
            self.follow()

    @property
    def _last(self) -> int:
        """The last iteration in the recording."""
        return self._state.writer.last_iteration if self._state.writer is not None else -1

    def _ask(self, onset: int, alarm: int) -> None:
        """Ask for the iterations from before `onset` (if they are still there) to after `alarm`."""
        oldest = next(iter(self._box.iterations), alarm)
        at = onset if oldest <= onset <= alarm else alarm
        if len(self._asked) < _MOST:
            self._add(Window(max(0, at - _BEFORE), min(alarm, at + _LONGEST) + _AFTER + 1), at)

    def _add(self, window: Window, at: int) -> None:
        """Ask for `window` without what was asked for before, unless `at` is in that."""
        if not self._box.slots or any(at in other for other in self._asked):
            return
        start = max([window.start, *(other.stop for other in self._asked if other.stop <= at)])
        stop = min([window.stop, *(other.start for other in self._asked if other.start > at)])
        self._asked.append(Window(start, stop))
        self._waiting.append(Window(start, stop))

    def _begin(self, window: Window) -> KeptWindow | None:
        """Open a file for `window`. From here on the worker writes it should this process die."""
        state = self._state
        assert state.writer is not None
        self._box.wanted = window
        keys = None if self._keys is None else self._keys.look_up()
        try:
            self._open = KeptWindow(state.place.path, self._box, state.writer.layout.kept, window, keys)
        except RecordingFailed as failure:
            self._drop(window, failure)
        return self._open

    def _take(self, kept: KeptWindow) -> bool:
        """Take what has arrived of a window. Returns whether that was the last of it."""
        try:
            kept.take(self._last)
        except RecordingFailed as failure:
            self._drop(kept.window, failure)
            return True
        stop = kept.window.stop
        if kept.is_outdated:  # the rest goes into another file
            next_one = kept.iterations[-1] + 1 if kept.iterations else kept.window.start
            self._waiting[1:1] = [Window(next_one, stop)] if next_one < stop else []
        elif self._last < stop - 1:
            return False
        self._finish(kept)
        return True

    def _finish(self, kept: KeptWindow) -> None:
        try:
            path = kept.finish()
        except RecordingFailed as failure:
            self._drop(kept.window, failure)
            return
        self._close()
        if path is not None:
            self._state.listener.message(_kept(kept, path))

    def _close(self) -> None:
        self._open, self._box.wanted = None, None
        self._waiting.pop(0)

    def _drop(self, window: Window, failure: RecordingFailed) -> None:
        self._close()
        self._state.listener.message(
            f"Iterations {window.start:,} to {window.stop - 1:,} could not be kept as a window: "
            f"{self._state.place.for_the_user(failure)}. The recording is complete without them"
        )


def _kept(kept: KeptWindow, path: Path) -> str:
    """State which iterations are in the file `path`."""
    first, last = kept.iterations[0], kept.iterations[-1]
    span = f"teration {first:,}" if first == last else f"terations {first:,} to {last:,}"
    was = "was" if first == last else "were"
    what = f"I{span} {was} kept whole" if kept.has_params else f"The inputs of i{span} were kept"
    return f"{what} ({path.parent.name}/{path.name}, {path.stat().st_size / 2**20:,.1f} MiB)"
