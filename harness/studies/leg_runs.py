"""The run directories of a leg: what they hold already, and what is left to train.

DIRECTORY is a restart of the parent. Where its process ended too early, DIRECTORY.part2 goes on from its last
snapshot, then DIRECTORY.part3. A directory from which nothing can go on is renamed to DIRECTORY.unused and made again.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.caffe_files.messages import parse_text, pb
from harness.diagnosis.live.limits import read_limits
from harness.errors import BadInput, RecordingError, RecordingFailed
from harness.exit_codes import Exit
from harness.recording import Recording, run_directory
from harness.recording.locks import read_lock, write_lock
from harness.recording.snapshots import iterations_of
from harness.schemas.leg import Leg, LegResult
from harness.schemas.run_info import Ended, RunInfo
from harness.supervisor.run_names import free_directory

STOP = "STOP"  # a file that ends a leg, in its run directory
_KEEP_END = ("--set", "snapshot_after_train=true")  # a leg can be continued where it ends
_BEFORE, _BEHIND = 4, 6  # words of a restart's command before and behind those of the leg


@dataclass(frozen=True)
class Stretch:
    """A run directory of a leg.

    Attributes:
        info: its run.json.
        stop: the iteration before which its recording ends.
        iterations, seconds: what its recording holds, and the time that these iterations took.
        divergence: the iteration of the first alarm that stops a leg; None without one.
        snapshots: by iteration, the JSON beside each.
    """

    directory: Path
    info: RunInfo
    stop: int
    iterations: int
    seconds: float
    divergence: int | None
    snapshots: Mapping[int, Path]


def stretches(leg: Leg) -> list[Stretch]:
    """Return the run directories that a leg has, oldest first; what a kill has left unfinished is completed.

    Raises:
        BadInput: one is a run of something else, or cannot be read.
    """
    found: list[Stretch] = []
    while (directory := numbered(leg, len(found) + 1)).is_dir():
        if not (directory / "run.json").is_file():
            break
        info = run_directory.read_info(directory)
        if found:
            _check_continues(info, found[-1].directory, directory)
        else:
            _check_content(leg, info, directory)
        found.append(_stretch(directory, info))
    return found


def wait_for_recorder(leg: Leg) -> None:
    """Wait until no process records in a run directory of a leg."""
    number = 1
    while (directory := numbered(leg, number)).is_dir():
        with suppress(RecordingFailed), write_lock(directory, wait=True):  # a file system may have no locks
            pass
        number += 1


def is_recorded(leg: Leg) -> bool:
    """Check whether a process records in a run directory of a leg."""
    number = 1
    while (directory := numbered(leg, number)).is_dir():
        with read_lock(directory) as free:
            if not free:
                return True
        number += 1
    return False


def result_of(leg: Leg, runs: list[Stretch]) -> LegResult | None:
    """Return how a leg has ended, as its run directories `runs` say; None if there is something left to train."""
    if not runs:
        return None
    last = runs[-1]
    ended = last.info.ended
    if ended is not None and _diverged(leg, last, ended):
        return outcome(leg, runs, Exit.DIVERGED, ended.how)
    complete = ended is not None and ended.code == Exit.DONE and (ended.iteration or 0) >= leg.until
    if complete or max(last.snapshots, default=-1) >= leg.until:
        return outcome(leg, runs, Exit.DONE)
    return None


def _diverged(leg: Leg, last: Stretch, ended: Ended) -> bool:
    """Check whether a leg diverged before its end, as its last run says.

    A short one may reach its end before the rule that finds the divergence can stop it.
    """
    if leg.stops and ended.code in (Exit.DONE, Exit.DIVERGED):
        found = last.divergence is not None and last.divergence < leg.until
        return found or (ended.code == Exit.DIVERGED and (ended.iteration or 0) < leg.until)
    return ended.code == Exit.DIVERGED and last.info.on_alarm != "stop" and (ended.iteration or 0) < leg.until


def outcome(leg: Leg, runs: list[Stretch], code: int, why: str = "") -> LegResult:
    """Return the result of a leg with the run directories `runs` that ended with an exit code."""
    return LegResult(
        leg=leg,
        directory=str(runs[-1].directory) if runs else "",
        code=int(code),
        last=runs[-1].stop if runs else leg.start,
        why=why,
        iterations=sum(run.iterations for run in runs),
        seconds=sum(run.seconds for run in runs),
    )


def next_command(leg: Leg, runs: list[Stretch]) -> tuple[str, ...]:
    """Return the arguments of restart.py that make what is left of a leg with the run directories `runs`.

    Directories from which nothing can go on are renamed.

    Raises:
        BadInput: one cannot be renamed, or the parent cannot be read.
    """
    usable = len(runs)
    while usable and not runs[usable - 1].snapshots:
        usable -= 1
    for number in range(usable + 1, len(runs) + 2):
        _set_aside(numbered(leg, number))
    out = numbered(leg, usable + 1)
    if not usable:
        return _command(leg, leg.parent, leg.start, (*leg.words, *_end_kept(leg)), out)
    last = runs[usable - 1]
    return _command(leg, str(last.directory), max(last.snapshots), (), out)


def numbered(leg: Leg, number: int) -> Path:
    """Return the run directory number 1, 2, … of a leg: with a bare number, momentum=0 would go on in momentum=0.2."""
    path = Path(leg.directory)
    return path if number == 1 else path.with_name(f"{path.name}.part{number}")


def last_directory(leg: Leg) -> Path:
    """Return the last of the run directories that a leg has; the first one where it has none."""
    number = 1
    while numbered(leg, number + 1).is_dir():
        number += 1
    return numbered(leg, number)


def _command(leg: Leg, parent: str, start: int, words: tuple[str, ...], out: Path) -> tuple[str, ...]:
    alarm = "stop" if leg.stops else "non_finite"
    behind = ("--until", str(leg.until), "--out", str(out), "--on-alarm", alarm)
    return (parent, "--from", str(start), *words, *behind)


def _end_kept(leg: Leg) -> tuple[str, ...]:
    """Return what has Caffe take a snapshot at the end of a leg, where the parent's solver asks for none there."""
    info = run_directory.read_info(Path(leg.parent))
    solver = parse_text(info.solver, pb.SolverParameter, Path(leg.parent) / "run.json")
    return () if solver.snapshot_after_train else _KEEP_END


def _stretch(directory: Path, info: RunInfo) -> Stretch:
    stop, iterations, seconds, divergence = info.first, 0, 0.0, None
    limits = read_limits(None)
    with suppress(RecordingError), Recording(directory) as recording:  # a start that was killed has none
        if len(recording.iterations):
            stop, iterations = int(recording.iterations[-1]) + 1, len(recording.iterations)
            seconds = float(np.nansum(recording.series("seconds")))
        divergence = next((alarm.iteration for alarm in recording.alarms if limits.stops(alarm.rule)), None)
    return Stretch(directory, info, stop, iterations, seconds, divergence, iterations_of(directory / "snapshots"))


def _check_content(leg: Leg, info: RunInfo, directory: Path) -> None:
    parent = info.parent
    words = tuple(info.command[_BEFORE:-_BEHIND])
    if words[-2:] == _KEEP_END and leg.words[-2:] != _KEEP_END:
        words = words[:-2]
    same = parent is not None and parent.iteration == leg.start and run_directory.is_run(parent.run, Path(leg.parent))
    if not same or words != leg.words:
        wanted = shlex.join(("restart.py", leg.parent, "--from", str(leg.start), *leg.words))
        raise BadInput(
            f"holds another run: `{shlex.join(info.command)}`, not `{wanted}`",
            file=directory,
            remedy="Move it away, or give another directory for the study",
        )


def _check_continues(info: RunInfo, before: Path, directory: Path) -> None:
    if info.parent is None or not run_directory.is_run(info.parent.run, before):
        raise BadInput(
            f"holds another run: `{shlex.join(info.command)}`, not what goes on from {before}",
            file=directory,
            remedy="Move it away, or give another directory for the study",
        )


def _set_aside(directory: Path) -> None:
    if not directory.is_dir() or not any(directory.iterdir()):
        return
    place = free_directory(directory.parent, f"{directory.name}.unused")
    try:
        directory.rename(place)
    except OSError as error:
        raise BadInput(
            f"holds no snapshot to go on from, and cannot be renamed ({error.strerror})",
            file=directory,
            remedy="Move it away",
        ) from None
