"""Fill windows of a run after the fact, by exact replay."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np

from harness.errors import RecordingError, RecordingFailed
from harness.exit_codes import Exit
from harness.recording import Recording
from harness.recording.run_directory import read_info
from harness.recording.window_copy import copy_window
from harness.replay.missing import Missing, missing
from harness.replay.only_rewind import TEMPORARY, killed_rewinds, only_rewind
from harness.replay.replaying import Replay, Replayed, replay
from harness.replay.starts import Nearest, nearest
from harness.reports.text.replays import replay_differs, replay_verified, window_stored
from harness.schemas.listener import RunListener
from harness.schemas.run_info import RunInfo
from harness.schemas.window import Window, merge
from harness.supervisor.signals import Interrupts

_SPARE = 64 << 20  # free bytes that are left on the disk
_START = 3.0  # seconds that it takes to start a replay


@dataclass(frozen=True)
class Rewound:
    """The result of a rewind: the files with windows that were written, the exit code, and how it ended.

    Where that is neither DONE nor INTERRUPTED, `sentence` is the error, which the user has not seen yet.
    """

    files: tuple[Path, ...]
    code: Exit
    sentence: str


@dataclass(frozen=True)
class _Stretch:
    """One replay: from where it begins, and what is wanted of it: the kinds of arrays that each iteration lacks."""

    begin: Nearest
    lacks: Mapping[int, tuple[str, ...]]

    @property
    def windows(self) -> tuple[Window, ...]:
        """The iterations as ranges."""
        return merge(Window(t, t + 1) for t in self.lacks)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of arrays that some iteration lacks."""
        return tuple(dict.fromkeys(kind for kinds in self.lacks.values() for kind in kinds))


def rewind(
    run: Path, windows: Sequence[Window], capture: Sequence[str], listener: RunListener, interrupts: Interrupts
) -> Rewound:
    """Fill `windows` of the run directory `run`, as far as they are not stored, with the arrays `capture`.

    The run is replayed from the nearest restartable iteration. Iterations are stored whose weights, and those after
    their update, have the digests that the run recorded: in files of their own, which appear complete or not at all.
    The files of the run itself stay as they are.

    Args:
        listener: receives how far the replay is, and sentences for the user.
        interrupts: may end it; what was verified until then is stored.

    Raises:
        BadInput: a window reaches beyond what was recorded; there is nothing to replay it from; data have changed, or
            cannot be read. Nothing was started.
        RecordingError: a recording cannot be read, or Caffe refuses what it needs.
        RecordingFailed: there is not enough room.
    """
    run = run.resolve()
    info = read_info(run)
    files: list[Path] = []
    code, sentence = Exit.DONE, "Nothing to do: all of it is stored already."
    if missing(run, windows, capture).iterations or killed_rewinds(run):
        with only_rewind(run, listener.message) as directory:
            work = missing(run, windows, capture)  # another one may have stored it in the meantime
            _check_room(run, work)
            for stretch in _stretches(run, info, work):
                listener.message(_begins(run, stretch))
                stored, code, sentence = _fill(run, stretch, directory, listener, interrupts)
                files += stored
                if code != Exit.DONE:
                    break
    if code in (Exit.DONE, Exit.INTERRUPTED):
        listener.message(sentence)
    return Rewound(tuple(files), code, sentence)


def _check_room(run: Path, work: Missing) -> None:
    """Check that the disk has room for the arrays that are missing, once in a temporary recording and once more."""
    needed, free = 2 * work.size + _SPARE, shutil.disk_usage(run).free
    if free < needed:
        raise RecordingFailed(
            f"{len(work.iterations):,} iterations take {work.size / 2**20:,.1f} MiB, and twice as much until they are "
            f"complete; the disk of {run} has {free / 2**20:,.0f} MiB free. Free some space, or ask for fewer "
            "iterations or kinds of arrays (--watch, --capture)"
        )


def _begins(run: Path, stretch: _Stretch) -> str:
    return f"Rewinding {run.name} to {', '.join(map(str, stretch.windows))}: replaying from {stretch.begin.reason}"


def _stretches(run: Path, info: RunInfo, work: Missing) -> Iterator[_Stretch]:
    """Divide what is missing into replays: a new one where the iterations that it spares take longer than its start."""
    with Recording(run) as recording:
        seconds = float(np.median(recording.series("seconds")))
    begin, iterations = None, list[int]()
    for window in merge(Window(t, t + 1) for t in work.iterations):
        found = nearest(run, info, window.start)
        if begin is not None and (found.iteration - iterations[-1] - 1) * seconds > _START:
            yield _Stretch(begin, {t: work.lacks[t] for t in iterations})
            begin, iterations = None, []
        begin = begin or found
        iterations += range(window.start, window.stop)
    if begin is not None:
        yield _Stretch(begin, {t: work.lacks[t] for t in iterations})


# -- one replay ------------------------------------------------------------------------------------------------------


def _fill(
    run: Path,
    stretch: _Stretch,
    directory: Path,
    listener: RunListener,
    interrupts: Interrupts,
) -> tuple[list[Path], Exit, str]:
    """Replay a stretch and store what is wanted of it. Returns the files, the exit code, and how it ended."""
    temporary = Path(tempfile.mkdtemp(dir=directory, prefix=TEMPORARY))
    try:
        request = Replay(run, stretch.begin.iteration, max(stretch.lacks) + 1, stretch.windows, stretch.kinds)
        done = replay(request, temporary, listener, interrupts)
        if done.outcome.code == Exit.BAD_INPUT:
            raise RecordingError(done.outcome.sentence)
        stored = _store(run, done, stretch, listener, interrupts)
        return stored, *_end(done, stored, interrupts)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _store(
    run: Path,
    done: Replayed,
    stretch: _Stretch,
    listener: RunListener,
    interrupts: Interrupts,
) -> list[Path]:
    """Store the iterations of a replay that are those of the run."""
    whole, weights_only = _equal(run, done)
    parts: dict[frozenset[str], list[Window]] = {}
    for t in _in_windows(done.directory) & stretch.lacks.keys():
        kinds = frozenset(stretch.lacks[t])
        if t in whole:
            kinds |= {"state"} if "weight" in kinds else set()
            kinds |= {"key"} if "input" in kinds else set()
        else:
            kinds &= {"weight"} if t in weights_only else set()
        parts.setdefault(kinds, []).append(Window(t, t + 1))
    stored = []
    with interrupts.handled(lambda: None):  # Ctrl-C: finish this, and then end; twice: store what there is
        for kinds, window in sorted(((kinds, w) for kinds, ws in parts.items() for w in merge(ws)), key=itemgetter(1)):
            path = copy_window(done.directory, run, window, kinds, lambda: not interrupts.at_once)
            if path is not None:
                listener.message(window_stored(path, kinds))
                stored.append(path)
    return stored


def _in_windows(directory: Path) -> set[int]:
    try:
        with Recording(directory) as recording:
            return set(recording.window_iterations.tolist())
    except RecordingError:  # it ended before the nets were built
        return set()


def _equal(run: Path, done: Replayed) -> tuple[range, range]:
    """Return the iterations that are those of the run, and those of which only the weights are known to be.

    An iteration is the run's if its weights and those after its update are. After the last iteration there may be no
    weights to compare; then its loss is.
    """
    found = done.verification
    if found.first is None or found.through is None:
        return range(0), range(0)
    if found.first_difference is not None:
        last = found.first_difference - 1  # whose update was another one
        return range(found.first, last), range(max(found.first, last), last + 1)
    same = found.final or _same_loss(run, done.directory, found.through)
    return range(found.first, found.through + same), range(found.through + same, found.through + 1)


def _same_loss(run: Path, replayed: Path, iteration: int) -> bool:
    losses = []
    for directory in (run, replayed):
        with Recording(directory, may_repair=directory == replayed) as recording:
            row = iteration - int(recording.iterations[0])
            losses += [repr(loss) for loss in recording.series("loss", slice(row, row + 1)).tolist()]
    return len(losses) == 2 and losses[0] == losses[1]


def _end(done: Replayed, stored: Sequence[Path], interrupts: Interrupts) -> tuple[Exit, str]:
    """Return the exit code of a replay of which the files `stored` were kept, and a sentence."""
    found, outcome = done.verification, done.outcome
    if found.first_difference is not None:
        info = read_info(done.directory)
        return Exit.DIVERGED, replay_differs(found, info.not_exact, info.weights)
    if found.problem is not None:
        raise RecordingError(f"the replay cannot be verified: {found.problem}")
    verified = replay_verified(found)
    if outcome.code == Exit.INTERRUPTED or interrupts.at_once:
        nothing = " None of them was stored." if found.compared and not stored else ""
        return Exit.INTERRUPTED, f"Interrupted. {verified}{nothing}"
    if outcome.code == Exit.DONE:
        return outcome.code, verified
    said = "".join(f" Caffe said: {line}" for line in outcome.last_words)
    return outcome.code, f"{outcome.death or outcome.sentence}.{said} {verified}"
