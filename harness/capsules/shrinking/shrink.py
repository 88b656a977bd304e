"""Shrink a capsule: leave out what its break does not need, step by step, each tried by a replay.

What remains is small, and not the smallest. It is no statement about causes: effects of records add up, and where half
of the culprits is enough, an arbitrary half remains (see delta_debugging).
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from harness.caffe_files.messages import parse_text, pb
from harness.capsules.packing.cut_recording import write_cut
from harness.capsules.packing.minimal_run import Stretch, write_minimal_run
from harness.capsules.packing.start_state import plan_state
from harness.capsules.repeating.verdict import SETTLED
from harness.capsules.shrinking.candidates import Candidates, move_recording
from harness.capsules.shrinking.courses import read_course
from harness.capsules.shrinking.delta_debugging import fewest, least
from harness.capsules.shrinking.freezing import learning_groups
from harness.capsules.shrinking.likely_records import Item, likely_items, records_read, stand_ins
from harness.capsules.shrinking.record_edits import RecordEdits
from harness.capsules.shrinking.reductions import Reduction, blob_counts, data_sets
from harness.capsules.shrinking.trials import Stopped, Trials
from harness.recording.run_directory import read_info, write_info
from harness.recording.snapshots import iterations_of, read_snapshot
from harness.replay import Replay
from harness.replay.starts import start_of
from harness.reports.text.grammar import count, list_names
from harness.rounding import MANTISSA
from harness.schemas.run_info import RunInfo
from harness.schemas.window import Window
from harness.supervisor.resume import Start, from_run

_LEVEL = 3  # iterations after a break has settled, whose level is compared
_FEWEST_BITS = 1  # of a mantissa
_MOST_TRIES = 60  # of a phase
_REPLACEABLE = ("Data", "ImageData", "HDF5Data")  # windows are parts of images, and have no content of their own


class Report(Protocol):
    """Receives how a search goes on."""

    def trying(self, phase: str, what: str) -> None:
        """Receive what is tried next."""

    def found(self, phase: str, what: str, run: Path, changes: tuple[str, ...]) -> None:
        """Receive what a phase has found: the smallest run directory so far, and all changes in it."""


class NoBreak(Exception):
    """The capsule does not break on this machine as it was recorded: there is nothing to shrink."""


class Shrinker:
    """Shrinks the capsule that was unpacked to the run directory `run`, which breaks.

    Attributes:
        changes: how the smallest run directory differs from the capsule, a sentence each.
    """

    def __init__(self, run: Path, trials: Trials, report: Report) -> None:
        self._trials, self._report = trials, report
        self._candidates = Candidates(run, trials)
        self._changes: dict[str, str] = {}

    @property
    def smallest(self) -> Path:
        """The smallest run directory so far that breaks alike; its recording is that of a replay of it."""
        return self._candidates.best

    @property
    def changes(self) -> tuple[str, ...]:
        return tuple(self._changes.values())

    def search(self) -> bool:
        """Search. Returns whether everything was tried.

        Raises:
            NoBreak: the capsule itself does not break here.
            KeyboardInterrupt: the search is to end at once.
        """
        try:
            self._report.trying("control", "the capsule as it is")
            if not self._candidates.attempt(Reduction()):
                raise NoBreak
            self._found("control", "it breaks here as recorded")
            for phase in (self._iterations, self._records, self._history, self._layers, self._numbers, self._rows):
                self._candidates.build_on_best()
                phase()
        except Stopped:
            return False
        return True

    def verify(self) -> bool:
        """Train the smallest run directory once more. Returns whether all its weights have the recorded bits.

        Raises:
            KeyboardInterrupt: it is to end at once.
        """
        info = read_info(self.smallest)
        self._report.trying("verification", "the result once more")
        try:
            done = self._trials.last_replay(Replay(self.smallest, info.first, info.until))
        except Stopped:
            return False
        return done is not None and done.verification.first_difference is None

    # -- phases -------------------------------------------------------------------------------------------------------

    def _iterations(self) -> None:
        """End earlier and begin later; at least one iteration before the onset stays, whose loss is healthy."""
        info = read_info(self._candidates.base)
        latest = max(info.first, self._candidates.onset - 1)
        self._report.trying("iterations", "an earlier end")
        shortest = min(info.until, self._candidates.onset + SETTLED + _LEVEL)
        until = least(shortest, info.until, self._breaks_before)
        if not self._begins(Window(latest, until)):
            first = -least(1 - latest, -info.first, lambda start: self._begins(Window(-start, until)))
            if first == info.first and until < info.until:
                self._begins(Window(first, until))
        kept = read_info(self.smallest)
        if (kept.first, kept.until) != (info.first, info.until):
            self._changes["iterations"] = (
                f"It has iterations {kept.first:,} to {kept.until - 1:,}; the capsule had {info.first:,} to "
                f"{info.until - 1:,}"
            )
        self._found("iterations", f"{kept.until - kept.first} of {info.until - info.first}")

    def _breaks_before(self, until: int) -> bool:
        """Check that the recording shows the break before iteration `until`. Nothing is replayed."""
        out = self._trials.new_directory("cut")
        out.mkdir()
        info = msgspec.structs.replace(read_info(self._candidates.base), until=until)
        write_cut(self._candidates.base, info, out)
        breaks = self._candidates.reference.breaks_alike(read_course(out), info.first, until)
        shutil.rmtree(out)
        return breaks

    def _begins(self, window: Window) -> bool:
        """Try other iterations."""
        self._report.trying("iterations", f"{window.start:,} to {window.stop - 1:,}")
        info = read_info(self._candidates.base)
        start = self._reached(info, window.start)
        if start is None:
            return False
        out = self._trials.new_directory("run")
        out.mkdir()
        onset = info.ended.onset if info.ended is not None else None
        write_minimal_run(Stretch(self._candidates.base, info, window, onset or None), start, out)
        return self._candidates.keep(out)

    def _reached(self, info: RunInfo, at: int) -> Start | None:
        """Reach the state before iteration `at`."""
        plan = plan_state(self._candidates.base, info, at)
        if plan.replay is None:
            return start_of(self._candidates.base, info, at)
        done = self._trials.replay(plan.replay)
        return None if done is None else from_run(done.directory, read_info(done.directory), at)

    def _records(self) -> None:
        """Put records of the first iteration in the place of as many others as possible, each under its own key."""
        info = read_info(self._candidates.base)
        sets = [data for data in data_sets(info) if data.kind in _REPLACEABLE]
        likely = likely_items(self._candidates.base, info, self._candidates.onset)
        others = stand_ins(info, likely)
        every = tuple(item for item in others if item[0] in {data.name for data in sets})
        if not every:
            return

        def breaks(kept: Collection[Item]) -> bool:
            self._report.trying("records", f"{len(kept):,} of {len(every):,} as they were")
            edits = {data.name: RecordEdits(_content(data.name, others, kept)) for data in sets}
            return self._candidates.attempt(Reduction(records=edits))

        at_onset = {(name, int(n)) for name, found in records_read(info, self._candidates.onset).items() for n in found}
        parts = [tuple(item for item in every if item in part) for part in (likely, at_onset)]
        known = next((part for part in parts if part and breaks(part)), every)
        kept = fewest(known, breaks, _MOST_TRIES)
        if len(kept) < len(every):
            self._changes["records"] = (
                f"{len(every) - len(kept):,} records have the content of one of the first iteration's, under their own "
                f"keys; {count(len(kept), 'other record')} stayed as {'it was' if len(kept) == 1 else 'they were'}"
            )
        self._found("records", f"{len(kept):,} of {len(every):,} as they were")

    def _history(self) -> None:
        self._report.trying("history", "0 at the start")
        if self._candidates.attempt(Reduction(without_history=True)):
            self._changes["history"] = "The solver's history (its momentum) is 0 at the start"
        self._found("history", "left out" if "history" in self._changes else "needed")

    def _layers(self) -> None:
        """Freeze as many layers as possible."""
        info = read_info(self._candidates.base)
        groups = learning_groups(
            parse_text(info.net, pb.NetParameter, self._candidates.base), blob_counts(_model(self._candidates.base))
        )

        def breaks(learning: tuple[frozenset[str], ...]) -> bool:
            self._report.trying("layers", f"{count(_size(learning), 'layer')} of {_size(groups)} learning")
            frozen = {name for group in groups if group not in learning for name in group}
            return self._candidates.attempt(Reduction(frozen=frozenset(frozen)))

        kept = fewest(groups, breaks, _MOST_TRIES)
        if len(kept) < len(groups):
            names = [name for group in kept for name in sorted(group)]
            self._changes["layers"] = (
                f"{_size(groups) - _size(kept)} of {count(_size(groups), 'layer')} are frozen (learning rate 0); "
                f"{list_names(names) or 'none'} {'learns' if len(names) == 1 else 'learn'}"
            )
        self._found("layers", f"{_size(kept)} of {_size(groups)} learn")

    def _numbers(self) -> None:
        """Round the weights and the history."""

        def breaks(bits: int) -> bool:
            self._report.trying("numbers", f"{bits} of {MANTISSA} bits of the mantissa")
            return self._candidates.attempt(Reduction(mantissa=bits))

        bits = least(_FEWEST_BITS, MANTISSA, breaks)
        if bits < MANTISSA:
            self._changes["numbers"] = f"Weights and history are rounded to {bits} of {MANTISSA} bits of the mantissa"
        self._found("numbers", f"{bits} of {MANTISSA} bits")

    def _rows(self) -> None:
        """Leave out recorded iterations before the start, which only diagnosis needs. Nothing is replayed."""
        info, out = read_info(self._candidates.base), self._trials.new_directory("rows")
        out.mkdir()

        def breaks(before: int) -> bool:
            self._trials.check()
            for path in out.iterdir():
                path.unlink()
            write_cut(self._candidates.base, info, out, before)
            return self._candidates.reference.breaks_alike(read_course(out), info.first, info.until)

        recorded = info.first - int(read_course(self._candidates.base).iterations[0])
        self._report.trying("earlier iterations", f"fewer than {recorded}")
        before = least(0, recorded, breaks)
        if before < recorded and breaks(before):
            changed = self._trials.new_directory("run")
            shutil.copytree(self._candidates.base, changed)
            move_recording(out, changed)
            write_info(changed, msgspec.structs.replace(info, directory=str(changed)))
            self._candidates.best = changed
            self._changes["rows"] = f"{before} of the {recorded} iterations recorded before its start are left"
        self._found("earlier iterations", f"{before} of {recorded}")

    def _found(self, phase: str, what: str) -> None:
        self._report.found(phase, what, self.smallest, self.changes)


def _model(run: Path) -> Path:
    """Return the caffemodel of the one snapshot in a capsule's run directory."""
    (path,) = iterations_of(run / "snapshots").values()
    return path.with_name(read_snapshot(path).caffemodel)


def _content(name: str, others: Mapping[Item, int], kept: Collection[Item]) -> dict[int, int]:
    """Map the records of the data set `name` that are not `kept` to those that take their place."""
    return {item[1]: other for item, other in others.items() if item[0] == name and item not in kept}


def _size(groups: Iterable[frozenset[str]]) -> int:
    """Count the layers of groups."""
    return sum(map(len, groups))
