"""What the black box holds, and which iterations of it become windows."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import h5py
import numpy as np
import pytest

from harness.recording import kept_window
from harness.recording.black_box import MOST_SLOTS, BlackBox
from harness.recording.side_windows import SideWindow
from harness.schemas.layout import Alarm, Array
from harness.schemas.onset import Onset
from harness.schemas.outcome import Divergence
from harness.supervisor.window_keeper import WindowKeeper

SIZE = 1000  # float32 values of an iteration
KEPT = (Array("input", "data", None, (SIZE,)),)


def fill(box: BlackBox, start: int, stop: int) -> None:
    for iteration in range(start, stop):
        box.begin(iteration).view(np.float32)[:] = iteration
        box.complete(iteration, digest=iteration + 7)


def fill_from_outside(fd: int, count: int) -> None:
    fill(BlackBox(fd), 0, count)


class Run:
    """As much of a run as a WindowKeeper looks at."""

    def __init__(self, path: Path, capacity: int = 1 << 20) -> None:
        self.box = BlackBox.create(capacity)
        self.box.lay_out(4 * SIZE, has_params=False)
        self.messages: list[str] = []
        self.writer = SimpleNamespace(last_iteration=-1, layout=SimpleNamespace(kept=KEPT))
        place = SimpleNamespace(path=path, for_the_user=str)
        listener = SimpleNamespace(message=self.messages.append)
        state = SimpleNamespace(writer=self.writer, place=place, listener=listener)
        self.keeper = WindowKeeper(self.box, cast(Any, state), None)
        self.path = path / "windows"

    def train(self, stop: int) -> None:
        fill(self.box, self.writer.last_iteration + 1, stop)
        self.writer.last_iteration = stop - 1
        self.keeper.follow()

    def diverge(self, alarm: int, onset: int) -> None:
        found = Alarm(alarm, "loss_jump", "loss", 9.0, 5.0)
        self.keeper.receive([found], [found], Divergence(Onset(onset, ""), None))
        self.keeper.follow()

    @property
    def windows(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir()) if self.path.exists() else []


def test_the_oldest_iterations_make_room_for_new_ones() -> None:
    box = BlackBox.create(10 * 4096)
    box.lay_out(4096, has_params=False)
    fill(box, 0, 25)
    assert box.iterations == list(range(15, 25))
    assert box.read(14) is None
    found = box.read(15)
    assert found is not None
    assert found.digest == 22
    assert set(np.frombuffer(found.arrays, np.float32)) == {15.0}
    box.begin(25)  # being written
    assert box.read(15) is None
    assert box.iterations == list(range(16, 25))
    box.lay_out(64, has_params=True)
    assert box.iterations == []


def test_it_holds_at_most_so_many_iterations_and_none_without_memory() -> None:
    box = BlackBox.create(1 << 20)
    box.lay_out(8, has_params=False)
    assert box.slots == MOST_SLOTS
    assert BlackBox.create(0).room(8) == 0


def test_a_copy_is_whole_or_none_while_another_process_writes() -> None:
    box = BlackBox.create(3 * 4 * SIZE + 999)
    box.lay_out(4 * SIZE, has_params=False)
    writer = multiprocessing.get_context("fork").Process(target=fill_from_outside, args=(box.fd, 40_000))
    writer.start()
    whole = 0
    while writer.is_alive() or not whole:
        for iteration in box.iterations:
            found = box.read(iteration)
            if found is not None:
                assert set(np.frombuffer(found.arrays, np.float32)) == {float(iteration)}
                assert found.digest == iteration + 7
                whole += 1
    writer.join()
    assert writer.exitcode == 0


def test_nothing_is_read_while_the_memory_is_laid_out_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker may do so between any two looks at the counters."""
    box = BlackBox.create(1 << 20)
    box.lay_out(4 * SIZE, has_params=False)
    fill(box, 0, 3)
    counts = iter([box.slots, 0, 0])
    monkeypatch.setattr(BlackBox, "slots", property(lambda box: next(counts)))
    assert box.read(2) is not None
    assert box.read(2) is None


def test_the_iterations_from_before_the_onset_to_after_the_alarm_are_kept(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.train(130)
    run.diverge(alarm=125, onset=120)
    assert run.windows == [name for name in run.windows if name.startswith(".")]  # it waits for what comes after
    run.train(150)
    assert run.windows == ["110-136.h5"]
    with h5py.File(run.path / "110-136.h5") as file:
        assert file["window/input/data"][:, 0].tolist() == list(range(110, 136))
        assert file["window/digest"][()].tolist() == list(range(117, 143))
    (message,) = run.messages
    assert message.startswith("The inputs of iterations 110 to 135 were kept (windows/110-136.h5, 0.")


def test_what_is_gone_when_the_alarm_comes_is_left_out(tmp_path: Path) -> None:
    run = Run(tmp_path, capacity=30 * 4096)
    run.train(200)
    run.diverge(alarm=190, onset=50)  # whose iteration is no longer there
    run.train(205)
    assert run.windows == ["180-201.h5"]


def test_there_must_be_room_for_all_iterations_of_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for those that follow while it is written, when the black box holds fewer."""
    wanted = []

    class Spy(SideWindow):
        def __init__(self, run: Path, arrays: Sequence[Array], most: int) -> None:
            wanted.append(most)
            super().__init__(run, arrays, most)

    monkeypatch.setattr(kept_window, "SideWindow", Spy)
    run = Run(tmp_path, capacity=30 * 4096)
    run.train(50)
    run.diverge(alarm=45, onset=30)
    run.train(60)
    assert run.windows == ["20-56.h5"]
    assert wanted == [36]


def test_iterations_are_kept_once_and_windows_are_few(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for onset in (50, 55, 70, 200, 300, 400, 500):
        run.train(onset + 30)
        run.diverge(alarm=onset, onset=onset)
        run.train(onset + 40)
    windows = ["190-211.h5", "290-311.h5", "40-61.h5", "61-81.h5"]
    assert run.windows == windows
    run.keeper.finish(died=True)
    assert run.windows == [*windows[:2], windows[2], "520-540.h5", windows[3]]


def test_the_end_of_the_run_ends_the_window(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.train(60)
    run.diverge(alarm=55, onset=55)
    run.keeper.finish(died=True)
    assert run.windows == ["45-60.h5"]
    assert run.box.wanted is None


def test_a_window_goes_on_in_another_file_when_the_box_is_laid_out_anew(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.train(60)
    run.diverge(alarm=55, onset=55)
    run.box.lay_out(4 * SIZE, has_params=False)
    run.train(90)
    assert run.windows == ["45-60.h5", "60-66.h5"]
