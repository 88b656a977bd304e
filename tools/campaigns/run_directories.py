"""Campaign: damaged run directories give a sentence, never a traceback, and never numbers that were not recorded.

The runs are recorded once, by the real Caffe: one that breaks, with windows, test passes, snapshots and alarms, and a
restart of it. A case damages one to three files of one of them and reads it by one command.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

from harness import compare, readlog, report, restart, run
from harness.api.runs import diagnose, open_lineage, open_run, restarts, suggest
from harness.atomic_write import write_whole
from harness.errors import BadInput, RecordingError
from tools.campaigns import damages
from tools.campaigns.campaign import Campaign, Case
from tools.campaigns.contents import Contents, contents, silently_wrong
from tools.campaigns.damages import Damage

ROOT = Path(__file__).resolve().parents[2]
_DATA = ROOT / "tests/fixtures/run-0.1.0.tar.xz"  # of which only the solver, the net and its data are used
_HOME = ROOT / "runs/campaigns/run_directories"
_STATES = {"jump": "native_iter_80.solverstate", "again": "native_iter_110.solverstate"}  # a snapshot of each run
_LONGEST = 10.0  # seconds that a command may compute
# These may leave another recording, or a part of one, that is as good as any
_PLAUSIBLE = (damages.swap_with_another, damages.become_a_link, damages.resize_a_dataset, damages.forge)


@cache
def base() -> Path:
    """Record the runs that are damaged, or find them. Returns the directory of the data and of `runs/`."""
    home = Path(os.environ.get("CAMPAIGN_HOME", _HOME)) / "base"
    if not (home / "complete").exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        with tarfile.open(_DATA) as archive:
            archive.extractall(home)
        shutil.rmtree(home / "runs")
        on = ("--on-alarm", "continue")
        solver = ("run", "--solver", "solver.prototxt", "--watch", "99:102", "--out", "runs/jump", *on)
        restart = ("restart", "runs/jump", "--set", "gamma=1", "--until", "110", "--watch", "90:93")
        for arguments in (solver, (*restart, "--out", "runs/again", *on)):
            subprocess.run([sys.executable, "-m", "harness", *arguments], cwd=home, check=True, capture_output=True)
        write_whole(home / "complete", "")
    return home


@cache
def original(name: str) -> Contents:
    """Return everything in the undamaged recording of the run `name`."""
    with open_run(base() / "runs" / name) as recording:
        return contents(recording)


# -- commands ----------------------------------------------------------------------------------------------------------


def read_everything(home: Path, name: str) -> tuple[int, Contents | None]:
    """Open the recording, read all of it, and diagnose it, as a notebook does."""
    try:
        with open_run(home / "runs" / name) as recording:
            found = contents(recording)
            found_in_it = diagnose(recording)
            for figure in ("gradient", "weight", "ratio", "zeros"):
                found_in_it.heatmap(figure)
            found_in_it.batch()
            found_in_it.distributions()
            suggest(found_in_it)
            restarts(recording)
            with open_lineage(home / "runs" / name) as line:
                line.series("loss")
    except (BadInput, RecordingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2, locals().get("found")
    return 0, found


def _command(main: Callable[[list[str]], int], *arguments: str) -> Callable[[Path, str], tuple[int, None]]:
    def command(home: Path, name: str) -> tuple[int, None]:
        return main([argument.format(home=home, run=home / "runs" / name) for argument in arguments]), None

    return command


def _resume(home: Path, name: str) -> tuple[int, None]:
    state = home / "runs" / name / "snapshots" / _STATES[name]
    solver, out = home / "solver.prototxt", home / "full"
    return run.main(["--solver", str(solver), "--out", str(out), "--resume", str(state)]), None


# A run into a directory that is not empty is planned, and then refused
_COMMANDS = {
    "read": read_everything,
    "compare": _command(compare.main, "{home}/runs/jump", "{home}/runs/again"),
    "report": _command(report.main, "{run}", "--out", "{home}/report.html"),
    "report --format png": _command(report.main, "{run}", "--out", "{home}/figure", "--format", "png"),
    "report --compare": _command(
        report.main, "{home}/runs/jump", "--compare", "{home}/runs/again", "--out", "{home}/both.html"
    ),
    "restart": _command(restart.main, "{run}", "--out", "{home}/full"),
    "restart --from": _command(restart.main, "{run}", "--from", "101", "--out", "{home}/full"),
    "run --resume": _resume,
    "readlog": _command(readlog.main, "{run}", "--json"),
}
_WEIGHTS = (46, 14, 2, 1, 1, 14, 8, 7, 7)


# -- a case ------------------------------------------------------------------------------------------------------------


def check(number: int) -> Case:
    """Make and check case `number`."""
    chance = random.Random(number)
    there = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="damaged-") as directory:
        home = Path(directory) / "home"
        shutil.copytree(base(), home)
        (home / "full").mkdir()
        (home / "full/file").touch()
        victim = Path(directory) / "victim/recording.h5"
        victim.parent.mkdir()
        shutil.copy(base() / "runs/jump/recording.h5", victim)
        name = chance.choice(list(_STATES))
        done = [_damage(home / "runs" / name, victim, chance) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
        command = chance.choices(list(_COMMANDS), _WEIGHTS)[0]
        os.chdir(home)
        before = _state(victim.parent, base())
        started = time.process_time()
        try:
            with captured() as said, redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("error")
                code, found = _COMMANDS[command](home, name)
        finally:
            os.chdir(there)
        kind = f"{command}, {done[0][0]}"
        failure = _failure(code, "".join(said), str(home))
        if time.process_time() - started > _LONGEST:  # of this process: others may keep the machine busy
            failure = f"took {time.process_time() - started:.1f} s"
        if _state(victim.parent, base()) != before:
            failure = "a file outside the run directory has changed"
        if found is not None and not any(damage in _PLAUSIBLE for _, damage in done):
            wrong = silently_wrong(found, original(name))
            failure = f"wrong without an error: {', '.join(wrong)}" if wrong else failure
        what = "; ".join(text for text, _ in done)
        return Case(number, kind, f"exit {code}", failure and f"{what}: {failure}")


@contextmanager
def captured() -> Iterator[list[str]]:
    """Capture what this process and those that it starts print to stderr. It is in the list after the block."""
    said: list[str] = []
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file, os.fdopen(os.dup(file.fileno()), "w") as stream:
        os.dup2(file.fileno(), 2)
        try:
            with redirect_stderr(stream):
                yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            stream.flush()
            file.seek(0)
            said.append(file.read().decode(errors="replace"))


def _damage(run: Path, victim: Path, chance: random.Random) -> tuple[str, Damage]:
    """Damage a file of the run directory. Returns what was done, for people, and the function."""
    files = sorted(
        path for path in run.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o7
    )
    important = [path for path in files if path.name in ("recording.h5", "run.json") or path.suffix == ".json"]
    path = chance.choice(files if not important or chance.random() < 0.3 else important)
    own: tuple[Damage, ...] = {".json": damages.JSON, ".h5": damages.HDF5}.get(path.suffix, ())
    damage = chance.choice(own if own and chance.random() < 0.6 else damages.BYTES)
    try:
        damage(path, victim, chance)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, IndexError, MemoryError):  # damaged before
        damage = damages.truncate
        os.truncate(path, path.stat().st_size // 2)
    kind = path.name if path.name in ("recording.h5", "run.json", "solver.log", "report.html") else f"*{path.suffix}"
    return f"{damage.__name__.replace('_', ' ')} in {kind}", damage


def _failure(code: int, said: str, home: str) -> str | None:
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    if "Traceback" in said:
        return said
    if code not in (0, 2):
        return f"exit {code}: {said}"
    if code == 2 and (len(errors) != 1 or len(said.splitlines()[said.splitlines().index(errors[0]) :]) != 1):
        return f"not one sentence: {said}"
    if code == 2 and home not in errors[0] and "runs/" not in errors[0]:
        return f"no file is named: {said}"
    return None


def _state(*directories: Path) -> list[tuple[str, int, int]]:
    """List the files in directories with size and time of change; not those of LMDB, which each reader locks."""
    paths = [path for directory in directories for path in sorted(directory.rglob("*")) if path.suffix != ".mdb"]
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.is_file()]


CAMPAIGN = Campaign("run_directories", 5_000, 60.0, check)
