"""Find out where `caffe train` began the part of a training that ended with one of its snapshots.

Caffe's own resume (`caffe train --snapshot`) starts the data at the first record and seeds the random numbers anew, and
its snapshots do not tell. Its log does: glog keeps one in a temporary directory, and users keep one beside the
snapshots.
"""

from __future__ import annotations

import itertools
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from harness.schemas.run_info import NativeStart

_LOG_NAME = re.compile(r"\.(log|INFO|out|err)(\.|$)|(^|[._-])log", re.IGNORECASE)
_GLOG_NAME = re.compile(r"\.log\.INFO\.")
_MOST_LOGS, _MOST_BYTES = 50, 512 << 20  # of a directory, the newest
_SLACK = 60.0  # seconds that Caffe takes to write a snapshot after it has said so

_BEGINS = re.compile(rb"Initializing solver from parameters")
_RESUMES = re.compile(rb"Resuming from \S*?_iter_(\d{1,18})\.solverstate(?:\.h5)?\s*$")
_SNAPSHOT = re.compile(rb"Snapshotting solver state to (?:binary proto|HDF5) file (.+?)\s*$")
_GLOG_LINE = re.compile(rb"[IWEF]\d{4}")
_TYPE = re.compile(rb'type: "(\w+)"')  # at the margin: of the solver itself
_GLOG_TIME = re.compile(rb"I(?:\d{4})?(\d\d)(\d\d) (\d\d):(\d\d):(\d\d)")


def find_native_start(state: Path, iteration: int, given: int | None, interval: int) -> NativeStart:
    """Tell where Caffe began the part of the training that wrote the solverstate `state` of `iteration`.

    Args:
        given: what the user says (`--native-start`); None looks for a log, and for other snapshots beside it.
        interval: between two snapshots of the solver; 0 if it takes none.
    """
    if given is not None:
        return NativeStart(iteration=given, known_from="--native-start")
    found = {begun: log for log, begun in _starts(state)}
    if len(found) == 1:
        ((begun, log),) = found.items()
        return NativeStart(iteration=begun.iteration, known_from=str(log), solver_type=begun.solver_type)
    return NativeStart(iteration=0, suspected=suspected_resume(_neighbours(state), iteration, interval))


def suspected_resume(snapshots: Iterable[int], iteration: int, interval: int) -> int | None:
    """Return the snapshot at which the training before `iteration` seems to have been resumed; None if none does.

    Caffe takes snapshots at the multiples of `interval`. One elsewhere is that of an interruption or of another solver;
    and where a multiple is missing between others, the training began behind it.
    """
    if interval <= 0:
        return None
    times = sorted(t for t in snapshots if 0 < t < iteration)
    suspected = [t for t in times if t % interval]
    missing = next((t for t in range((iteration - 1) // interval * interval, 0, -interval) if t not in times), None)
    if missing is not None and times and times[0] < missing:
        suspected += [t for t in times if t > missing][:1]
    return max(suspected, default=None)


@dataclass(frozen=True)
class Begun:
    """The start of a process of `caffe train`; `solver_type` is None where the log does not hold the solver."""

    iteration: int = 0
    solver_type: str | None = None


def starts_in_log(lines: Iterable[bytes]) -> Iterator[tuple[bytes, str, Begun]]:
    """Yield for each solverstate that a log mentions its line, its name, and how the process began that wrote it."""
    begun, in_solver = Begun(), False
    for line in lines:
        if in_solver:
            in_solver = not _GLOG_LINE.match(line)
            if match := _TYPE.match(line):
                begun = replace(begun, solver_type=match[1].decode())
            elif line.startswith(b"lr_policy:") and begun.solver_type is None:
                begun = replace(begun, solver_type="SGD")  # the default, unless a line below gives another
        if b"olver" not in line:  # most of them
            continue
        if _BEGINS.search(line):
            begun, in_solver = Begun(), True
        elif match := _RESUMES.search(line):
            begun = replace(begun, iteration=int(match[1]))
        elif match := _SNAPSHOT.search(line):
            yield line, os.fsdecode(match[1]), begun


def _starts(state: Path) -> Iterator[tuple[Path, Begun]]:
    """Yield for each log that mentions `state` how the process began that wrote it last."""
    absolute = state.resolve()
    for directory, named, strict in ((absolute.parent, _LOG_NAME, False), (_glog_directory(), _GLOG_NAME, True)):
        for log in _logs(directory, named):
            last = None
            try:
                with log.open("rb") as lines:
                    for line, name, begun in starts_in_log(lines):
                        if _is(name, line, absolute, strict):
                            last = begun
            except OSError:
                continue
            if last is not None:
                yield log, last


def _is(name: str, line: bytes, state: Path, strict: bool) -> bool:
    """Check whether a log's `line` means `state`, by its file name; if `strict`, by its path and time."""
    if not strict:
        return Path(name).name == state.name
    same = str(state) == name or str(state).endswith(f"/{os.path.normpath(name)}")
    stamp = _GLOG_TIME.match(line)
    if not same or stamp is None:
        return False
    month, day, hour, minute, second = map(int, stamp.groups())
    written = state.stat().st_mtime
    said = time.mktime((time.localtime(written).tm_year, month, day, hour, minute, second, 0, 0, -1))
    return -1 <= written - said <= _SLACK


def _glog_directory() -> Path:
    """Return the directory where glog puts its logs (GetLoggingDirectories, logging.cc)."""
    named = os.environ.get("GLOG_log_dir")  # noqa: SIM112
    return Path(named or tempfile.gettempdir())


def _logs(directory: Path, named: re.Pattern[str]) -> list[Path]:
    """List the newest logs of a directory that this user owns."""
    found = []
    try:
        for entry in os.scandir(directory):
            if named.search(entry.name) and entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                if status.st_uid == os.getuid():
                    found.append((status.st_mtime, status.st_size, entry.path))
    except OSError:
        return []
    newest = sorted(found, reverse=True)[:_MOST_LOGS]
    totals = itertools.accumulate(size for _, size, _ in newest)
    return [Path(path) for (_, _, path), total in zip(newest, totals, strict=True) if total <= _MOST_BYTES]


def _neighbours(state: Path) -> list[int]:
    """List the iterations of the solverstates beside `state` with its prefix."""
    pattern = re.compile(r"(.*_iter_)(\d{1,18})(\.solverstate(?:\.h5)?)")
    own = pattern.fullmatch(state.name)
    if own is None:
        return []
    found = [pattern.fullmatch(path.name) for path in state.absolute().parent.iterdir()]
    return [int(match[2]) for match in found if match and match[1] == own[1]]
