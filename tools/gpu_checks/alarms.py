"""Are trainings that break found, and stopped."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.exit_codes import Exit
from harness.recording import Recording
from harness.recording.run_directory import read_info
from harness.schemas.run_info import Ended
from tools.gpu_checks.nets import edit_solver, small
from tools.gpu_checks.place import Place
from tools.gpu_checks.results import Result, Unexpected

_NEAR = 3  # iterations by which the onset may be off
_RATE = 1e30  # with which the weights overflow at once


def finds_a_break(place: Place) -> Result:
    """Train until planted records, or a planted learning rate, break it: the run has to stop and name the iteration."""
    broken, home = place.broken, _fresh(place.home / "broken")
    ended, rules = _train(place, home / "run", *broken.write(home), "--on-alarm", "stop")
    return judge_break(broken.name, broken.at, ended, rules)


def judge_break(name: str, at: int, ended: Ended, rules: tuple[str, ...]) -> Result:
    """Judge the end of a training that broke in iteration `at`; `rules` are those of its alarms."""
    if ended.code != Exit.DIVERGED or not ended.onset:
        return Result("failed", f"{name} broke in iteration {at}, but no alarm has stopped it.")
    onset = ended.onset.iteration
    words = f"{name} was stopped before iteration {ended.iteration} ({', '.join(rules)}), with the onset at {onset}"
    if abs(onset - at) > _NEAR:
        return Result("failed", f"{words}, but it broke at {at}.")
    return Result("passed", f"{words}; it broke at {at}.")


def stops_at_nan(place: Place) -> Result:
    """Train at a rate at which weights overflow: the run has to stop at the first NaN or infinity, and not to crash."""
    home = _fresh(place.home / "nan")
    solver = edit_solver(small(home), base_lr=_RATE, max_iter=50)
    return judge_nan(*_train(place, home / "run", "--solver", str(solver)))


def judge_nan(ended: Ended, rules: tuple[str, ...]) -> Result:
    """Judge the end of a training whose weights overflow; `rules` are those of its alarms."""
    if ended.code != Exit.DIVERGED or "non_finite" not in rules:
        return Result(
            "failed", f"the run {ended.how} with exit code {ended.code}; alarms: {', '.join(rules) or 'none'}."
        )
    return Result("passed", f"the run stopped before iteration {ended.iteration}; its process did not crash.")


def _train(place: Place, run: Path, *options: str) -> tuple[Ended, tuple[str, ...]]:
    command = ("harness/run.py", *options, *place.device, "--out", str(run))
    place.python(*command, codes=(Exit.DONE, Exit.DIVERGED))
    ended = read_info(run).ended
    if ended is None:
        raise Unexpected(f"run.json of {run.name} does not say how it ended")
    with Recording(run) as recording:
        return ended, tuple(dict.fromkeys(alarm.rule for alarm in recording.alarms))


def _fresh(home: Path) -> Path:
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    return home
