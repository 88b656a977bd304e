"""Find the runs that a run continues, and those that continue it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import BadInput
from harness.recording.run_directory import named_run, read_info
from harness.schemas.run_info import RunInfo


@dataclass(frozen=True)
class Ancestry:
    """A run and its ancestors, oldest first.

    `begins[i]` is the iteration at which run i takes over from run i - 1 (the first one of the oldest run). `missing`
    is a clause that says why the ancestors end there, although the oldest run continues another; None if it does not.
    """

    runs: tuple[Path, ...]
    infos: tuple[RunInfo, ...]
    begins: tuple[int, ...]
    missing: str | None

    @property
    def complete(self) -> bool:
        return self.missing is None


def ancestry(run: Path) -> Ancestry:
    """Find the ancestors of the run directory `run`: the runs that it was restarted from, or resumed from.

    Raises:
        BadInput: its run.json cannot be read.
    """
    runs, infos, missing = [run], [read_info(run)], None
    seen = {run.resolve()}
    while (named := _continued(infos[-1])) is not None:
        found = named_run(named, runs[-1])
        if found is None:
            missing = f"{named}, which {runs[-1]} continues, is not there"
            break
        if found.resolve() in seen:
            missing = f"{runs[-1] / 'run.json'} names {named}, which descends from it; correct that field"
            break
        try:
            infos.append(read_info(found))
        except BadInput as error:
            missing = str(error)
            break
        seen.add(found.resolve())
        runs.append(found)
    begins = tuple(info.first if info.parent is None else info.parent.iteration for info in infos)
    return Ancestry(tuple(runs[::-1]), tuple(infos[::-1]), begins[::-1], missing)


def _continued(info: RunInfo) -> str | None:
    return info.goes_on_from if info.parent is None else info.parent.run


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
            named = _continued(info)
            before = named_run(named, other) if named else None
        except (BadInput, OSError):  # another program's directory, or a damaged one
            continue
        if before is not None and before.resolve() == run.resolve():
            found.append((info.started, other, info))
    return [(path, info) for _, path, info in sorted(found, key=lambda each: each[:2])]
