"""A power failure at any moment: what was synchronized to the disk is a run that opens and restarts.

Both processes of a run note what they synchronize: the content of a file, or the names in a directory. A run directory
is then made of what had been noted up to a moment, and of nothing else.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from harness.recording import Recording
from harness.recording.repair import drop_incomplete_rows
from harness.recording.run_directory import read_info
from harness.recording.snapshots import iterations_of
from tests.helpers.commands import RUN, restart
from tests.helpers.nets import small_net, solver_text
from tests.helpers.processes import command

# Runs in both processes before anything else (docs.python.org/3/library/site.html).
NOTING = """
import json, os, stat, time

fsync = os.fsync

def noting(fd):
    fd = fd if isinstance(fd, int) else fd.fileno()
    info = os.fstat(fd)
    if stat.S_ISDIR(info.st_mode):
        names = {}
        for name in os.listdir(fd):
            try:
                one = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            names[name] = [one.st_ino, stat.S_ISDIR(one.st_mode)]
        content, kind = json.dumps(names).encode(), "directory"
    else:
        with open(f"/proc/self/fd/{fd}", "rb") as file:
            content, kind = file.read(), "file"
    fsync(fd)
    path = f"{os.environ['NOTES']}/{time.monotonic_ns():020d}-{kind}-{info.st_ino}"
    with open(path + ".part", "wb") as file:
        file.write(content)
    os.rename(path + ".part", path)

os.fsync = noting
"""


@dataclass(frozen=True)
class Synchronized:
    """A run that has ended, and what was synchronized while it went on, in order."""

    run: Path
    notes: list[Path]

    def after(self, count: int, target: Path) -> Path:
        """Make the run directory of the first `count` notes."""
        content: dict[int, Path] = {}
        for note in self.notes[:count]:
            content[int(note.name.split("-")[2])] = note
        _make(target, self.run.stat().st_ino, content)
        return target


def _make(target: Path, inode: int, content: dict[int, Path]) -> None:
    target.mkdir()
    names = json.loads(content[inode].read_text()) if inode in content else {}
    for name, (child, is_directory) in names.items():
        if is_directory:
            _make(target / name, child, content)
        elif child in content:
            shutil.copyfile(content[child], target / name)
        else:
            (target / name).touch()  # its name had been synchronized, but nothing of its content


@pytest.fixture(scope="module")
def synchronized(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Synchronized:
    """A run with a window and snapshots at 25, 50 and 60 of 60 iterations."""
    home = tmp_path_factory.mktemp("power")
    (home / "noting").mkdir()
    (home / "noting/sitecustomize.py").write_text(NOTING)
    (home / "notes").mkdir()
    (home / "net.prototxt").write_text(small_net(digit_data))
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "native"))
    env = {"PYTHONPATH": str(home / "noting"), "NOTES": str(home / "notes")}
    options = ("--solver", home / "solver.prototxt", "--out", home / "run", "--watch", "20:40")
    done = command(sys.executable, RUN, *options, env=env)
    assert done.code == 0, done.stderr[-3000:]
    return Synchronized(home / "run", sorted((home / "notes").iterdir()))


def test_what_was_synchronized_is_a_run_at_every_moment(synchronized: Synchronized, tmp_path: Path) -> None:
    with Recording(synchronized.run) as recording:
        digest = recording.series("digest")
    seen = []
    for count in range(len(synchronized.notes) + 1):
        run = synchronized.after(count, tmp_path / str(count))
        if not (run / "recording.h5").exists():
            assert not list(run.glob("snapshots/*.json"))
            continue
        with Recording(run) as recording:
            made = len(recording.iterations)
            np.testing.assert_array_equal(recording.series("digest"), digest[:made])
            assert len(recording.window_iterations) == np.clip(made - 20, 0, 20)
        info = read_info(run)
        with h5py.File(run / "recording.h5") as file:
            assert file.attrs["closed"] == (info.ended is not None)
        snapshots = iterations_of(run / "snapshots")
        for iteration, path in snapshots.items():
            assert iteration <= made
            for kind in ("caffemodel", "solverstate"):
                complete = synchronized.run / f"snapshots/{path.stem}.{kind}"
                assert path.with_suffix(f".{kind}").read_bytes() == complete.read_bytes()
        seen.append((made, len(snapshots), info.ended is not None))
    assert seen == sorted(seen)  # nothing is lost again
    assert seen[-1] == (60, 3, True)
    assert {count for _, count, _ in seen} == {0, 1, 2, 3}


def test_a_snapshot_that_was_synchronized_restarts_exactly(synchronized: Synchronized, tmp_path: Path) -> None:
    counts = range(len(synchronized.notes))
    first = next(
        count for count in counts if list(synchronized.after(count, tmp_path / str(count)).glob("snapshots/*_50.json"))
    )
    restart(tmp_path / str(first), "--from", 50, "--until", 60, "--out", tmp_path / "again")
    with Recording(synchronized.run) as whole, Recording(tmp_path / "again") as again:
        np.testing.assert_array_equal(again.series("digest"), whole.series("digest")[50:])


def test_snapshots_newer_than_the_recording_are_not_taken_for_none(synchronized: Synchronized, tmp_path: Path) -> None:
    """As up to 0.2.0, where a kill of both processes could leave them."""
    run = tmp_path / "run"
    shutil.copytree(synchronized.run, run)
    with h5py.File(run / "recording.h5", "r+", libver="latest") as file:
        file["iteration"].resize(10, axis=0)
        drop_incomplete_rows(file)
    refused = restart(run, "--out", tmp_path / "again", code=2)
    assert "its recording ends at iteration 9, before its snapshots; snapshots: 25, 50, 60" in refused.stderr
    restart(run, "--from", 25, "--until", 30, "--out", tmp_path / "again")


def test_a_restart_finds_a_snapshot_that_a_kill_left_unpublished(synchronized: Synchronized, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(synchronized.run, run)
    for path in (run / "snapshots").glob("native_iter_50.*"):
        path.rename(run / "snapshots/.writing" / path.name)
    restart(run, "--from", 50, "--until", 55, "--out", tmp_path / "again")
    assert not list((run / "snapshots/.writing").iterdir())
