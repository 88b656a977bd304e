"""A repair, and the close of a recording, that are killed at every step: the next reader completes them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from harness.recording import Recording, Window
from harness.recording.digests import RecordedDigests
from harness.recording.hdf5_schema import datasets
from harness.recording.locks import write_lock
from harness.recording.repair import repair
from harness.recording.superblock import is_marked_open
from harness.recording.writer import Writer
from tests.helpers.mounts import run_with_mounts
from tests.helpers.recordings import frame, layout_of

STEPS = ("pwrite", "ftruncate", "fsync", "replace", "unlink", "rename", "open", "fchmod")
ENDED = b'{"ended": "in order"}'


def in_child(work: Callable[[], None], steps: int | None = None) -> bool:
    """Do `work` in a child process that is killed before its system call number `steps`. Returns whether it was."""
    child = os.fork()
    if child == 0:
        try:
            left = iter(range(steps if steps is not None else 1 << 30))
            for name in STEPS:
                setattr(os, name, _counted(getattr(os, name), left))
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _counted(call: Callable[..., Any], left: Any) -> Callable[..., Any]:
    def counted(*arguments: Any, **options: Any) -> Any:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)

    return counted


def fill(run: Path, close: bool) -> None:
    """Write 30 iterations, 20 of them in a window, and part of the next one; close the file or die."""
    run.mkdir()
    (run / "run.json").write_text('{"ended": null}')
    layout = layout_of(2, Window(0, 20))
    writer = Writer.create(run / "recording.h5", layout, {})
    for iteration in range(30):
        if iteration <= 20:
            for number, array in enumerate(layout.arrays):
                values = np.full(array.shape, iteration, np.float32)
                writer.write_slab(number, 0, memoryview(values.tobytes()))
        if iteration < 20:
            writer.complete_window_iteration(iteration)
        writer.append_frames(frame(layout, iteration))
    writer.flush()
    if not close:
        os._exit(0)  # while the file is open
    writer.close(ENDED)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a writer that was killed."""
    run = tmp_path_factory.mktemp("killed") / "run"
    in_child(lambda: fill(run, close=False))
    assert is_marked_open(run / "recording.h5")
    return run


def check(run: Path) -> None:
    """Check that a reader finds everything, and leaves an ordinary HDF5 file with nothing beside it."""
    with Recording(run) as recording:
        np.testing.assert_array_equal(recording.iterations, np.arange(30))
        np.testing.assert_array_equal(recording.window_iterations, np.arange(20))
        np.testing.assert_array_equal(recording.gradient(13, "conv1/3x3"), np.full((3, 4), 13))
    with h5py.File(run / "recording.h5") as file:
        assert {len(dataset) for dataset in datasets(file["window"])} == {20}
        closed = bool(file.attrs["closed"])
    assert closed == (json.loads((run / "run.json").read_text())["ended"] is not None)
    assert not list(run.glob(".*"))


def locked_repair(run: Path) -> None:
    with write_lock(run):
        repair(run / "recording.h5")


def test_a_repair_killed_at_any_step_is_completed_by_the_next_reader(killed: Path, tmp_path: Path) -> None:
    killed_at = 0
    while True:
        run = tmp_path / str(killed_at)
        shutil.copytree(killed, run)
        was_killed = in_child(lambda run=run: locked_repair(run), killed_at)  # type: ignore[misc]
        check(run)
        shutil.rmtree(run)
        if not was_killed:
            break
        killed_at += 1
    assert killed_at > 10


def test_closing_that_is_killed_at_any_step_agrees_with_run_json(tmp_path: Path) -> None:
    """From the last flush on; before that, it is the repair of a killed writer."""
    outcomes = set()
    killed_at = 10
    while True:
        run = tmp_path / str(killed_at)
        was_killed = in_child(lambda run=run: fill(run, close=True), killed_at)  # type: ignore[misc]
        if (run / "recording.h5").exists():
            with Recording(run) as recording:
                if len(recording.iterations) == 30:
                    check(run)
                    outcomes.add(bool(recording.attributes["closed"]))
        if not was_killed:
            break
        killed_at += 1
    assert outcomes == {False, True}


def test_a_recording_on_a_read_only_disk_is_read_without_a_repair(killed: Path, tmp_path: Path) -> None:
    """Whether its writer was killed, or a repair of it."""
    code = """import sys
from harness.recording import Recording
with Recording(sys.argv[1]) as recording:
    print(len(recording.iterations), len(recording.window_iterations))"""
    for steps in (0, 9, 14):
        run = tmp_path / str(steps)
        shutil.copytree(killed, run)
        assert in_child(lambda run=run: locked_repair(run), steps)  # type: ignore[misc]
        script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3" "$1"'
        done = run_with_mounts(script, "sh", run, sys.executable, code)
        assert done.code == 0, done.stderr
        assert done.stdout == "30 20\n"
        check(run)


def test_what_a_journal_refers_to_is_on_the_disk_before_it(
    killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(killed, run)
    synced: list[str] = []
    fsync = os.fsync

    def noting(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noting)
    locked_repair(run)
    journal = next(number for number, name in enumerate(synced) if "journal" in name)
    assert "recording.h5" in synced[:journal]
    assert "recording.h5" in synced[journal:]


def test_digests_of_a_recording_that_a_file_names_are_read_without_a_repair(killed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(killed, run)
    found, _ = RecordedDigests(run).find(np.arange(20, 40))
    np.testing.assert_array_equal(found, np.arange(20, 30))
    assert is_marked_open(run / "recording.h5")
