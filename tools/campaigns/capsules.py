"""Campaign: damaged capsules give a sentence and exit code 2, and nothing is read, written or left behind elsewhere.

The capsule is of a run that breaks, recorded once by the real Caffe. A case damages a copy of it and gives it to one
sub-command of capsule.py, in a directory of its own. While that runs, an audit hook notes every file that this process
opens for writing, makes, moves or removes outside of the directory, and every access to a file that nobody may touch.
"""

from __future__ import annotations

import fcntl
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

from harness import capsule
from harness.atomic_write import write_whole
from harness.schemas.onset import Onset
from tools.campaigns import capsule_damages, damages
from tools.campaigns.base_capsules import capsule_of, minimal_run
from tools.campaigns.campaign import Campaign, Case
from tools.campaigns.capsule_damages import Damage
from tools.campaigns.run_directories import captured

ROOT = Path(__file__).resolve().parents[2]
_DATA = ROOT / "tests/fixtures/run-0.1.0.tar.xz"  # of which only the solver, the net and its data are used
_HOME = ROOT / "runs/campaigns/capsules"
_LONGEST = 20.0  # seconds that a command may compute
_PATIENCE = 120.0  # seconds that a training of 50 iterations of a few milliseconds may take on a busy machine
_ONSET, _FIRST = 100, 80
_EXPECTED_OF_RUN = (
    0,
    2,
    3,
    4,
)  # of a net, or of data, that somebody has changed: it may train otherwise, or not at all
_KINDS: tuple[tuple[Damage, ...], ...] = (
    *(capsule_damages.BYTES, capsule_damages.ZIP, capsule_damages.MANIFEST, capsule_damages.MEMBERS),
    capsule_damages.BOMBS,
)
_WEIGHTS = (20, 15, 20, 40, 5)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir": 1, "os.rename": 2, "os.link": 2, "os.symlink": 2, "os.remove": 1, "os.rmdir": 1, "os.chmod": 1,
            "os.truncate": 1}  # fmt: skip  # audit events by the number of paths among their arguments


@cache
def base() -> Path:
    """Record a run and make capsules of it, or find them.

    Returns:
        a directory with `jump.capsule`, which `pack` has made, and what it opens to, `opened`; with the run directory
        `minimal`, made by hand, and its capsule, `minimal.capsule`.
    """
    home = Path(os.environ.get("CAMPAIGN_HOME", _HOME)) / "base"
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of the jobs that begin at once, one makes it
        if not (home / "complete").exists():
            _make_base(home)
    return home


def _make_base(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    with tarfile.open(_DATA) as archive:
        archive.extractall(home)
    shutil.rmtree(home / "runs")
    options = ("--on-alarm", "continue", "--black-box-mib", "0", "--out", "run")
    for arguments in (
        ("run", "--solver", "solver.prototxt", *options),
        ("capsule", "pack", "run", "--out", "jump.capsule"),
        ("capsule", "open", "jump.capsule", "--out", "opened"),
    ):
        subprocess.run([sys.executable, "-m", "harness", *arguments], cwd=home, check=True, capture_output=True)
    there = Path.cwd()
    os.chdir(home)
    try:
        minimal_run(Path("run"), _FIRST, Path("minimal"))
    finally:
        os.chdir(there)
    capsule_of(home / "minimal", Onset(_ONSET, "the rate rose 60 times"), home / "minimal.capsule")
    write_whole(home / "complete", "")


# -- a case ------------------------------------------------------------------------------------------------------------


def check(number: int) -> Case:
    """Make and check case `number`."""
    chance = random.Random(number)
    with tempfile.TemporaryDirectory(prefix="capsule-") as directory:
        top = Path(directory)
        victim, home = top / "victim/recording.h5", top / "home"
        for folder in (victim.parent, home, home / "cache"):
            folder.mkdir()
        shutil.copy(base() / "minimal/recording.h5", victim)
        path = home / "damaged.capsule"
        shutil.copy(base() / "jump.capsule", path)
        damage = chance.choice(chance.choices(_KINDS, _WEIGHTS)[0])
        try:
            damage(path, victim, chance)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, IndexError, UnicodeError):  # cannot be done
            damage = damages.truncate
            damage(path, victim, chance)
        action = chance.choices(list(_ACTIONS), _SHARES)[0]
        before = _state(top)
        started = time.process_time()
        with _confined(home, victim) as touched, captured() as said, _without_results():
            code = _ACTIONS[action](path, home)
        expected = _EXPECTED_OF_RUN if action == "run" and damage in capsule_damages.MEMBERS else (0, 2)
        failure = _failure(code, expected, "".join(said), path, touched)
        made = _state(top).keys() - before.keys()
        if any(_state(top).get(name) != old for name, old in before.items()):
            failure = "a file has changed"
        allowed = ("home/out", "home/cache/caffe-harness/") if code == 0 else ("home/cache/caffe-harness/",)
        if not all(f"{name}/".startswith(allowed) for name in made):  # that of scans of LMDBs
            failure = f"left behind: {', '.join(sorted(made))}"
        if code == 0 and action == "open" and damage in capsule_damages.BYTES and not _same(home / "out"):
            failure = "opened without an error, and is not as it was"
        if time.process_time() - started > _LONGEST:  # of this process: others may keep the machine busy
            failure = f"took {time.process_time() - started:.1f} s"
        kind = f"{action}, {damage.__name__.replace('_', ' ')}"
        return Case(number, kind, f"exit {code}", failure)


def _show(path: Path, home: Path) -> int:
    return capsule.main(["show", str(path)])


def _open(path: Path, home: Path) -> int:
    return capsule.main(["open", str(path), "--out", str(home / "out")])


def _run(path: Path, home: Path) -> int:
    """Train in processes of their own, in a session of their own; one that hangs is ended with all of them."""
    command = [sys.executable, "-m", "harness", "capsule", "run", str(path)]
    with subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            return process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


_ACTIONS = {"show": _show, "open": _open, "run": _run}
_SHARES = (25, 60, 15)


@contextmanager
def _without_results() -> Iterator[None]:
    """Throw away what this process prints to stdout."""
    kept, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)


@contextmanager
def _confined(home: Path, victim: Path) -> Iterator[list[str]]:
    """Run in the directory `home`, which is also that of temporary files and caches.

    Yields:
        what this process does to files elsewhere, and to the `victim` in any way.
    """
    there = Path.cwd()
    touched: list[str] = []
    kept = {name: os.environ.get(name) for name in ("TMPDIR", "XDG_CACHE_HOME")}
    os.environ |= {"TMPDIR": str(home / "cache"), "XDG_CACHE_HOME": str(home / "cache")}
    tempfile.tempdir = None
    os.chdir(home)
    _watch(home, victim, touched)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield touched
    finally:
        _watched.clear()
        os.chdir(there)
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        tempfile.tempdir = None


_watched: dict[str, Any] = {}  # home, victim and the list for what is touched; empty while no command runs


@cache
def _install_hook() -> None:
    """An audit hook stays for the life of a process; it does nothing while `_watched` is empty."""
    sys.addaudithook(_note)


def _watch(home: Path, victim: Path, touched: list[str]) -> None:
    _install_hook()
    _watched.update(home=f"{home}/", victim=str(victim), touched=touched)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched:
        return
    if event == "open":
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        paths, writes = arguments[:1], bool(flags & _WRITES)
    elif event in _CHANGES:
        paths, writes = arguments[: _CHANGES[event]], True
    else:
        return
    for path in paths:
        if isinstance(path, int) or path in (None, "/dev/null", b"/dev/null"):
            continue
        name = os.path.realpath(os.fsdecode(path))
        if name == _watched["victim"] or (writes and not f"{name}/".startswith(_watched["home"])):
            _watched["touched"].append(f"{event} {name}")


def _same(run: Path) -> bool:
    """Check that an opened run directory is the one that was packed."""
    opened = base() / "opened"
    names = _names(opened)
    return names == _names(run) and all((run / name).read_bytes() == (opened / name).read_bytes() for name in names)


def _names(run: Path) -> set[Path]:
    """List the files of a run directory, without those in which readers of an LMDB are noted."""
    files = (path for path in run.rglob("*") if path.is_file() and path.name != "lock.mdb")
    return {path.relative_to(run) for path in files}


def _failure(code: int, expected: tuple[int, ...], said: str, path: Path, touched: list[str]) -> str | None:
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    if "Traceback" in said:
        return said
    if touched:
        return f"touched: {', '.join(touched)}"
    if code not in expected:
        return f"exit {code}: {said}"
    if code == 2 and (len(errors) != 1 or said.splitlines()[-1] != errors[0]):
        return f"not one sentence: {said}"
    if code == 2 and path.name not in errors[0]:
        return f"the capsule is not named: {said}"
    return None


def _state(top: Path) -> dict[str, tuple[int, int]]:
    """List all files and directories below `top` with size and time of change; of directories, neither."""
    found = {}
    for path in top.rglob("*"):
        state = path.lstat()
        known = (0, 0) if path.is_dir() else (state.st_size, state.st_mtime_ns)
        found[path.relative_to(top).as_posix()] = known
    return found


CAMPAIGN = Campaign("capsules", 2_000, 60.0, check)
