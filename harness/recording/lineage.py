"""Read a run and those that it was restarted from as one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import BadInput, RecordingError
from harness.recording.reader import Recording
from harness.recording.run_directory import named_run, read_info
from harness.schemas.layout import STATS
from harness.schemas.run_info import RunInfo


@dataclass(frozen=True)
class Ancestry:
    """A run and its ancestors, oldest first.

    `begins[i]` is the iteration at which run i takes over from run i - 1 (0 for a run without a parent). `missing` is
    the parent of the oldest run as its run.json names it, if that directory is gone.
    """

    runs: tuple[Path, ...]
    begins: tuple[int, ...]
    missing: str | None

    @property
    def complete(self) -> bool:
        return self.missing is None


def ancestry(run: Path) -> Ancestry:
    """Find the ancestors of the run directory `run`.

    Raises:
        BadInput: a run.json cannot be read.
        RecordingError: a run descends from itself.
    """
    runs, seen = [run], {run.resolve()}
    begins: list[int] = []
    missing = None
    while True:
        info = read_info(runs[0])
        if info.parent is None:
            begins.insert(0, info.first)
            break
        begins.insert(0, info.parent.iteration)
        found = named_run(info.parent.run, runs[0])
        if found is None:
            missing = info.parent.run
            break
        if found.resolve() in seen:
            raise RecordingError(
                f"{runs[0] / 'run.json'}: its parent {info.parent.run} descends from it; correct that field"
            )
        seen.add(found.resolve())
        runs.insert(0, found)
    return Ancestry(tuple(runs), tuple(begins), missing)


def children(run: Path) -> tuple[Path, ...]:
    """Find the run directories beside `run` that were restarted from it, oldest first."""
    return tuple(path for path, info in _continuations(run) if info.parent is not None)


def continuations(run: Path) -> tuple[Path, ...]:
    """Find the run directories beside `run` that continue it, oldest first: restarts, and runs from its snapshots."""
    return tuple(path for path, _ in _continuations(run))


def _continuations(run: Path) -> list[tuple[Path, RunInfo]]:
    found = []
    for other in sorted(run.resolve().parent.iterdir()):
        try:
            if other == run.resolve() or not (other / "run.json").is_file() or not (other / "recording.h5").is_file():
                continue
            info = read_info(other)
            named = info.parent.run if info.parent else info.goes_on_from
            before = named_run(named, other) if named else None
        except (BadInput, OSError):  # another program's directory, or a damaged one
            continue
        if before is not None and before.resolve() == run.resolve():
            found.append((info.started, other, info))
    return [(path, info) for _, path, info in sorted(found, key=lambda each: each[:2])]


def joined(run: Path, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Join a series (`loss`, `lr`…) or a statistic (`gradient_l2`…) of `run` with those of its ancestors.

    Returns (T,) iterations and (T,) or (T, P) values: the rows of each parent up to where its child begins, then the
    child's. If a parent's directory is missing (see `ancestry`), the series begins later.

    Raises:
        BadInput, RecordingError: as `ancestry`; or a recording cannot be read, or holds nothing of that name.
    """
    line = ancestry(run)
    iterations, values = [], []
    until = np.inf
    for path, begins in zip(reversed(line.runs), reversed(line.begins), strict=True):
        with Recording(path, may_repair=path == run) as recording:  # what a file names is only read
            rows = recording.stat(name).values if name in STATS else recording.series(name)
            times = recording.iterations[: len(rows)]  # of a live one, more may have come in between
            kept = times < until
            iterations.append(times[kept])
            values.append(rows[: len(times)][kept])
        until = min(until, begins)
    shapes = {rows.shape[1:] for rows in values}
    if len(shapes) > 1:
        raise RecordingError(
            f"{run}: {name} cannot be joined, because the parents' nets have other param blobs: "
            f"{', '.join(str(rows.shape[1]) for rows in reversed(values))} of them, oldest run first"
        )
    return np.concatenate(iterations[::-1]), np.concatenate(values[::-1])
