"""Find the solver file of a log, and the directory in which `caffe train` was called with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from harness.caffe_files.log_header import printed_solver
from harness.caffe_files.messages import pb, read_text
from harness.caffe_files.paths import exists, is_directory
from harness.errors import BadInput

_MOST_FILES = 200  # prototxts that are looked at
_LARGEST = 1 << 20  # bytes of one that may be a solver


@dataclass(frozen=True)
class SolverFile:
    """A solver file, and the directory from which its relative paths count: where it finds its net."""

    path: Path
    home: Path


def given_solver(path: Path, solver: pb.SolverParameter) -> SolverFile:
    """Return the solver file `path`, which holds `solver`."""
    net = next((n for n in (solver.net, solver.train_net) if n), "")
    places = (Path.cwd(), *path.absolute().parents)
    return SolverFile(path, next((place for place in places if net and exists(place / net)), Path.cwd()))


def find_solver(log: str, solver_text: str | None) -> SolverFile | None:
    """Find the solver file with the content `solver_text`, as the log `log` prints it; None if there is none.

    It is looked for beside the log, in the current directory, and where from there the net is.
    """
    wanted = printed_solver(solver_text)
    if wanted is None:
        return None
    _forget(wanted)
    for path in islice(_prototxts(log, wanted), _MOST_FILES):
        try:
            if path.stat().st_size > _LARGEST:
                continue
            solver = read_text(path, pb.SolverParameter, "solver")
        except (OSError, BadInput):
            continue
        found = given_solver(path, solver)
        _forget(solver)
        if solver == wanted:
            return found
    return None


def _prototxts(log: str, solver: pb.SolverParameter) -> Iterator[Path]:
    homes = [Path.cwd(), *([] if log == "-" else [Path(log).absolute().parent])]
    nets = [Path(name).parent for name in (solver.net, solver.train_net) if name]
    for place in dict.fromkeys([*homes, *(home / net for home in homes for net in nets)]):
        if is_directory(place):
            yield from sorted(place.glob("*.prototxt"))


def _forget(solver: pb.SolverParameter) -> None:
    """Clear what tools/caffe.cpp and the upgrade of old files change in a solver before it is printed."""
    solver.ClearField("train_state")
    solver.ClearField("device_id")
    solver.ClearField("solver_mode")
    solver.ClearField("solver_type")
    solver.ClearField("type")
    solver.ClearField("weights")
