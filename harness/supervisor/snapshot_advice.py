"""Suggest, once, a snapshot interval with which a rewind of the run stays cheap."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from harness.quantities import data_size, duration
from harness.recording.snapshots import expected_size
from harness.schemas.events import Event, Frames
from harness.schemas.layout import Alarm
from harness.schemas.outcome import Divergence, Opening, Outcome
from harness.supervisor.plan import Plan

_EXPENSIVE = 300.0  # seconds of training that a rewind may repeat
_MOST_OF_THE_TIME = 0.01  # of the training, for snapshots
_BYTES_A_SECOND = 100e6  # of a snapshot: written, synchronized to the disk, and its digest computed
_MOST_OF_THE_DISK = 0.25  # of what is free, before fewer are to be kept
_KEEP = 20
_WORTH_IT = 3  # times cheaper, at least
_ITERATIONS, _ENOUGH = 20, 60.0  # iterations to measure, or seconds


class SnapshotAdvice:
    """A listener that says, once the time of an iteration of `plan` is known, what a rewind may cost.

    It says nothing where that is little, or where other snapshots would hardly change it. `say` receives the sentence.
    """

    dropped: str | None = None

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self._plan, self._say = plan, say
        self._seconds: list[float] | None = []  # of the iterations so far; None: it was said
        self._size = 0

    def start(self, opening: Opening) -> None:
        numbers = sum(param.count for param in opening.layout.params)
        self._size = expected_size(numbers, self._plan.payload.solver_type, self._plan.info.net)

    def event(self, event: Event) -> None:
        if self._seconds is None or not isinstance(event, Frames):
            return
        self._seconds += event.rows["seconds"].tolist()
        if len(self._seconds) < _ITERATIONS and sum(self._seconds) < _ENOUGH:
            return
        plan, seconds = self._plan, float(np.median(self._seconds))
        self._seconds = None
        with suppress(OSError):  # the run directory was deleted
            free = shutil.disk_usage(plan.out).free
            every, keep = int(plan.solver.snapshot), plan.options.keep_snapshots
            said = advice(every, plan.until - plan.first, seconds, self._size, keep, free)
            if said is not None:
                self._say(said)

    def alarms(self, alarms: Sequence[Alarm], divergences: Sequence[Alarm], divergence: Divergence | None) -> None:
        pass

    def message(self, text: str) -> None:
        pass

    def tick(self, recorded_bytes: int) -> None:
        pass

    def finish(self, outcome: Outcome) -> None:
        pass

    def close(self) -> None:
        pass


def advice(every: int, iterations: int, seconds: float, size: int, keep: int | None, free: int) -> str | None:
    """Suggest a snapshot interval, in a sentence; None where a rewind is cheap, or cannot be made cheaper.

    Args:
        every: the interval of the run in iterations; 0 for none.
        iterations: of the run.
        seconds: of an iteration.
        size: of a snapshot, in bytes.
        keep: how many snapshots the run keeps; None for all.
        free: bytes that are free on the disk.
    """
    longest = min(every or iterations, iterations)
    if longest * seconds <= _EXPENSIVE or not seconds or keep == 1:
        return None
    writing = size / _BYTES_A_SECOND
    better = _interval(seconds, writing)
    if _WORTH_IT * better > longest:
        return None
    options, count = f"--snapshot-every {better}", iterations // better + 1
    kept = min(keep or count, count)
    if keep is None and kept * size > _MOST_OF_THE_DISK * free:
        kept = _KEEP
        options += f" --keep-snapshots {_KEEP}"
    reach = f" in the last {(kept - 1) * better:,} iterations" if kept < count else ""
    writes = writing / (better * seconds)
    share = f"{writes:.1%}" if writes >= 0.001 else "less than 0.1%"
    apart = f"Snapshots are {every:,} iterations apart" if 0 < every < iterations else "This run takes no snapshots"
    return (
        f"{apart}: to record afterwards what was not watched (rewind) may repeat {duration(round(longest * seconds))} "
        f"of training. With {options} that is at most {duration(round(better * seconds))}{reach}, for "
        f"{share} of the time and {data_size(kept * size)} of disk. A restart of this run takes these options, too."
    )


def _interval(seconds: float, writing: float) -> int:
    """Choose a round interval: the longest that is cheap to repeat, but none whose snapshots take too much time."""
    numbers = [first * int(10**power) for power, first in itertools.product(range(10), (1, 2, 5))]
    cheap = max((n for n in numbers if n * seconds <= _EXPENSIVE), default=1)
    affordable = min(n for n in numbers if n * seconds * _MOST_OF_THE_TIME >= writing or n == numbers[-1])
    return max(cheap, affordable)
