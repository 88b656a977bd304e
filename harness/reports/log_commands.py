"""Commands suggested for a log: repeat the iterations of the onset and record them whole."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from harness.caffe_files.paths import is_file
from harness.caffe_files.solver_search import SolverFile
from harness.caffe_log.model import LogRun
from harness.diagnosis.logged.findings import RunFindings
from harness.invocation import next_command, path_argument
from harness.reports.suggestion import Suggestion
from harness.schemas.window import Window

_PURPOSE = "To see what every layer did there, repeat it with a window around the jump"
_UNKNOWN = "SOLVER.prototxt"


def log_commands(
    log: str, run: LogRun, found: RunFindings, solver: SolverFile | None, max_iter: int | None
) -> list[Suggestion]:
    """Suggest commands for a run of a log that broke; none for other runs.

    Args:
        log: the name of the log, or "-".
        solver: the solver file of the run; None if not known.
        max_iter: of that solver; None if not known.
    """
    if found.jump is None:
        return []
    watched = found.jump.watch
    window = watched if max_iter is None else Window(watched.start, max(watched.start + 1, min(watched.stop, max_iter)))
    good = sorted(((t, name) for t, name in run.snapshots if t < found.jump.onset.low), reverse=True)
    recorded = Path(log).parent
    if Path(log).name == "solver.log" and is_file(recorded / "recording.h5") and is_file(recorded / "run.json"):
        return _of_recorded_run(recorded, window, good, found.coverage.first == 0)
    if solver is None:
        return [_without_solver(window, run, good)]
    return [_of_native_run(log, window, run, good, solver)]


def _of_recorded_run(run: Path, window: Window, good: Sequence[tuple[int, str]], whole: bool) -> list[Suggestion]:
    """Suggest a restart of one of our own runs, from the newest good snapshot that it still has.

    `whole`: it began at iteration 0, to which it can return without a snapshot.
    """
    report = Suggestion(f"{next_command('report')} {path_argument(run)}", "To see what was recorded around the jump")
    start = next((t for t, name in good if is_file(run / "snapshots" / Path(_state(name)).name)), 0 if whole else None)
    if start is None:
        return [report]
    restart = f"{next_command('restart')} {path_argument(run)} --from {start} {_looking_at(window, start)}"
    return [report, Suggestion(restart, _PURPOSE + _from(start))]


def _of_native_run(
    log: str, window: Window, run: LogRun, good: Sequence[tuple[int, str]], solver: SolverFile
) -> Suggestion:
    """Suggest a run that goes on from the newest good snapshot that is still there, else from where the log began."""
    command = f"cd {path_argument(solver.home)} && {next_command('run')} --solver {path_argument(solver.path)}"
    places = (solver.home, Path(log).parent, solver.path.parent)
    for iteration, name in good:
        state = _find(_state(name), places)
        if state is not None:
            options = f"{_looking_at(window, iteration)} --resume {path_argument(state)}"
            return Suggestion(f"{command} {options}", _PURPOSE + _from(iteration))
    if run.resumed_from is not None and (state := _find(run.resumed_from, places)) is not None:
        options = f"{_looking_at(window)} --resume {path_argument(state)}"
        return Suggestion(f"{command} {options}", f"{_PURPOSE}, from where it was resumed")
    gone = f", as {_state(good[0][1])} is not there" if good else ""
    return Suggestion(f"{command} {_looking_at(window)}{_weights(run, places)}", f"{_PURPOSE}{_from(0)}{gone}")


def _without_solver(window: Window, run: LogRun, good: Sequence[tuple[int, str]]) -> Suggestion:
    """Suggest the command as far as it is known: the log is from elsewhere."""
    command = f"{next_command('run')} --solver {_UNKNOWN} {_looking_at(window)}"
    if good:
        command += f" --resume {shlex.quote(_state(good[0][1]))}"
    elif run.weights_from:
        command += f" --weights {shlex.quote(','.join(run.weights_from))}"
    return Suggestion(command, f"{_PURPOSE} (with the solver of this run in place of {_UNKNOWN})")


def _state(name: str) -> str:
    """Return the solverstate of a snapshot, of which a log may name the caffemodel."""
    return re.sub(r"\.caffemodel(?=(\.h5)?$)", ".solverstate", name)


def _weights(run: LogRun, places: Sequence[Path]) -> str:
    found = [_find(name, places) for name in run.weights_from]
    paths = [str(path.absolute()) for path in found if path is not None]
    return f" --weights {shlex.quote(','.join(paths))}" if paths and len(paths) == len(run.weights_from) else ""


def _find(name: str, places: Sequence[Path]) -> Path | None:
    """Find a file that a log names: where Caffe saw it, or moved to one of `places`."""
    candidates = (places[0] / name, *(place / Path(name).name for place in places))
    return next((path for path in candidates if is_file(path)), None)


def _looking_at(window: Window, start: int = 0) -> str:
    """Return the options for a run from iteration `start` that records `window` and then ends."""
    return f"--watch {max(window.start, start)}:{window.stop} --until {window.stop}"


def _from(iteration: int) -> str:
    return f", from the newest good snapshot, iteration {iteration:,}" if iteration else ", from iteration 0"
