"""Pack a stretch of a run into a capsule."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.capsules.file.capsule_file import check_new
from harness.capsules.packing.data_sets import DataSet
from harness.capsules.packing.facts import break_at, describe
from harness.capsules.packing.minimal_run import Stretch, check_packable, write_minimal_run
from harness.capsules.packing.start_state import plan_state
from harness.capsules.packing.with_page import finish
from harness.capsules.repeating.repeat import repeat
from harness.diagnosis.recorded.damage_span import BEFORE, MOST, span
from harness.diagnosis.recorded.diagnose import Diagnosis, diagnose
from harness.errors import BadInput
from harness.recording import Recording
from harness.recording.run_directory import read_info
from harness.replay import Replay, Replayed
from harness.replay.starts import start_of
from harness.schemas.capsule import Manifest
from harness.schemas.listener import RunListener
from harness.schemas.run_info import RunInfo, Verification
from harness.schemas.window import Window
from harness.supervisor.resume import Start, from_run
from harness.supervisor.signals import Interrupts

_UNITS = {"Data": "records", "ImageData": "images", "HDF5Data": "rows", "WindowData": "windows"}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Choice:
    """What to pack: around iteration `at` (None: the onset), `length` iterations (None: to the end of the damage)."""

    at: int | None = None
    length: int | None = None


@dataclass(frozen=True)
class Packed:
    """A capsule that was written.

    Attributes:
        path: the file.
        manifest: its capsule.json.
        sets: its data sets.
        verification: of its iterations, which were trained out of it before it was written.
    """

    path: Path
    manifest: Manifest
    sets: tuple[DataSet, ...]
    verification: Verification


class Packer:
    """Packs iterations of the run directory `run`.

    Args:
        listener: receives the progress of what is repeated.
        say: receives sentences for the user.
    """

    def __init__(self, run: Path, listener: RunListener, interrupts: Interrupts, say: Say) -> None:
        self._run, self._info = run, read_info(run)
        self._listener, self._interrupts, self._say = listener, interrupts, say

    def pack(
        self,
        choice: Choice,
        out: Path,
        change: Callable[[Path, Manifest], Manifest] = lambda directory, manifest: manifest,
    ) -> Packed:
        """Pack what was chosen into the file `out`.

        Args:
            change: changes the run directory that will be packed, and returns its manifest.

        Raises:
            BadInput: the run cannot be packed; nothing was written.
            RecordingError: its recording cannot be read.
            RecordingFailed: the disk is full.
            WorkerDied: Caffe died while it repeated the run.
            KeyboardInterrupt: the user has interrupted it.
        """
        check_new(out)
        check_packable(self._run, self._info)
        with Recording(self._run) as recording:
            stretch = _stretch(self._run, self._info, self._diagnosis(recording), choice)
            broke = break_at(stretch.onset, recording, stretch.window.stop)
        window = stretch.window
        self._say(f"Packing iterations {window.start:,} to {window.stop - 1:,} of {self._run.name}")
        with tempfile.TemporaryDirectory(prefix="caffe-harness-") as name:
            start, directory = self._reached(window.start, Path(name)), Path(name) / "run"
            directory.mkdir()
            sets = write_minimal_run(stretch, start, directory)
            for each in sets:
                of = f" of test net #{each.net - 1}" if each.net else ""
                self._say(f"Layer {each.layer}{of} reads {each.records:,} of {each.of:,} {_UNITS[each.kind]}")
            tried = self._tried(window, directory, Path(name) / "tried")
            manifest = change(directory, describe(directory, self._run.name, broke))
            manifest = finish(directory, manifest, out)
        return Packed(out, manifest, sets, tried.verification)

    def _diagnosis(self, recording: Recording) -> Diagnosis:
        ended = self._info.ended
        return diagnose(recording, raised=recording.alarms if ended is not None and ended.has_alarms else None)

    def _reached(self, at: int, scratch: Path) -> Start:
        """Reach the state before iteration `at`, by training if there is no snapshot of it."""
        plan = plan_state(self._run, self._info, at)
        if plan.replay is None:
            self._say(f"It begins at iteration {at:,} ({plan.reason})")
            return start_of(self._run, self._info, at)
        request = plan.replay
        if request.first < at:
            self._say(f"Repeating iterations {request.first:,} to {at - 1:,}, from {plan.reason}")
        else:
            self._say(f"It begins at iteration {at:,} ({plan.reason})")
        done = repeat(request, scratch / "reached", self._listener, self._interrupts)
        _check_same(done, self._run)
        start = from_run(done.directory, read_info(done.directory), at)
        if start.setup is not None and not all(place.known for place in start.setup.point.places):
            # seeds that layers behind fillers have drawn: whoever resumes finds them out
            done = repeat(
                Replay(done.directory, at, at, snapshot=True), scratch / "seeded", self._listener, self._interrupts
            )
            start = from_run(done.directory, read_info(done.directory), at)
        return start

    def _tried(self, window: Window, directory: Path, out: Path) -> Replayed:
        """Train the iterations from what will be packed, and check that they are those of the run."""
        self._say(f"Trying it: iterations {window.start:,} to {window.stop - 1:,}")
        request = Replay(directory, window.start, window.stop)
        done = repeat(request, out, self._listener, self._interrupts)
        _check_same(done, self._run)
        return done


def _check_same(done: Replayed, run: Path) -> None:
    """Check that all digests were those that the run recorded.

    Raises:
        BadInput: they were not.
    """
    found = done.verification
    if found.first_difference is None and (found.compared or found.final):
        return
    known = "; ".join(read_info(done.directory).not_exact)
    what = (
        found.problem or "it recorded none of these iterations"
        if found.first_difference is None
        else f"its weights before iteration {found.first_difference:,} are other ones when it is repeated here"
    )
    raise BadInput(
        f"{what}{f' ({known})' if known else ''}: a capsule of it would show something else",
        file=run,
        remedy="Pack it on the machine that it was trained on, with the same build of Caffe",
    )


def _stretch(run: Path, info: RunInfo, diagnosis: Diagnosis, choice: Choice) -> Stretch:
    """Choose the iterations to pack.

    Raises:
        BadInput: there is no onset, or these iterations were not recorded.
    """
    iterations = diagnosis.recording.iterations
    if not len(iterations):
        raise BadInput("it has recorded no iteration", file=run, remedy="Pack another run")
    if not diagnosis.recording.params:
        raise BadInput("its net has no weights, so that nothing in it can break", file=run, remedy="Pack another run")
    onset = diagnosis.onset
    window = span(diagnosis.recording, diagnosis)
    if choice.at is not None:
        if not iterations[0] <= choice.at <= iterations[-1]:
            raise BadInput(
                f"the run recorded iterations {iterations[0]:,} to {iterations[-1]:,}",
                field="--at",
                value=choice.at,
                remedy="Give one of them",
            )
        window = Window(max(choice.at - BEFORE, int(iterations[0])), choice.at + MOST - BEFORE)
    if window is None:
        raise BadInput(
            "nothing broke in it, as far as is known",
            file=run,
            remedy="Give the iteration around which to pack: --at T",
        )
    first = max(window.start, info.first)
    stop = window.stop if choice.length is None else first + choice.length
    window = Window(first, min(stop, int(iterations[-1]) + 1))
    if choice.at is None and onset is not None and onset.iteration >= window.stop:
        raise BadInput(
            f"the onset is at iteration {onset.iteration:,}, and the capsule begins at {first:,}",
            field="--length",
            value=choice.length,
            remedy=f"Give at least {onset.iteration - first + 1}",
        )
    seen = onset if onset is not None and window.start <= onset.iteration < window.stop else None
    return Stretch(run, info, window, seen)
