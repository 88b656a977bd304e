"""--on-alarm-exec starts a command once for each divergence, and neither its duration nor its failure matters."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from harness.schemas.layout import Alarm
from harness.schemas.onset import Onset
from harness.schemas.outcome import Divergence, Opening
from harness.supervisor.alarm_command import OUTPUT, AlarmCommand
from tests.helpers.commands import Trained, train
from tests.helpers.nets import small_net, solver_text
from tests.helpers.recordings import layout_of

pytestmark = pytest.mark.usefixtures("one_blas_thread")

BREAKS = 20
Train = Callable[..., Trained]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Train:
    """Trains a net whose rate is raised by 500 at iteration BREAKS."""
    home = tmp_path_factory.mktemp("alarm")
    (home / "net.prototxt").write_text(small_net(digit_data))
    fields = {"lr_policy": '"step"', "gamma": 500, "stepsize": BREAKS, "power": None, "max_iter": 40, "display": 4}
    (home / "solver.prototxt").write_text(
        solver_text(home / "net.prototxt", home / "x", **fields, test_iter=None, test_interval=None)
    )
    return lambda name, *options, code=0: train(home / "solver.prototxt", home / name, *options, code=code)


def test_it_is_started_once_and_may_fail(broken: Train) -> None:
    command = 'env | grep ^CAFFE_HARNESS_; echo "to stderr" >&2; exit 7'
    done = broken("a run", "--on-alarm", "continue", "--on-alarm-exec", command)
    lines = (done.run / OUTPUT).read_text().splitlines()
    assert lines.count("to stderr") == 1
    said = dict(line.removeprefix("CAFFE_HARNESS_").split("=", 1) for line in lines if "=" in line)
    assert said["RUN"] == str(done.run)
    assert said["RULE"] in ("loss_jump", "non_finite", "saturated_softmax")
    assert said["MESSAGE"]
    assert BREAKS <= int(said["ITERATION"]) < 30
    assert int(said["ONSET"]) <= int(said["ITERATION"])
    assert f"--on-alarm-exec: started at iteration {said['ITERATION']}" in done.stderr
    assert f"the command failed with exit code 7; see {done.run}/{OUTPUT}" in done.stderr
    with h5py.File(done.run / "recording.h5") as file:
        assert len(file["iteration"]) == 40


def test_a_run_that_stops_does_not_wait_for_it_and_leaves_it_alone(broken: Train) -> None:
    begun = time.monotonic()
    done = broken("long", "--on-alarm-exec", "exec sleep 600", code=3)
    assert time.monotonic() - begun < 100
    found = re.search(r"the command is still running \(process (\d+)\)", done.stderr)
    assert found is not None, done.stderr
    os.kill(int(found[1]), signal.SIGKILL)  # raises if it has ended


def test_a_healthy_run_starts_nothing_and_neither_changes_the_weights(broken: Train) -> None:
    plain = broken("plain", "--until", 18)
    watched = broken("watched", "--until", 18, "--on-alarm-exec", "exit 1")
    assert not (watched.run / OUTPUT).exists()
    with h5py.File(plain.run / "recording.h5") as one, h5py.File(watched.run / "recording.h5") as other:
        assert np.array_equal(one["digest"][:], other["digest"][:])


def test_a_later_divergence_is_another_one(tmp_path: Path) -> None:
    said: list[str] = []
    listener = AlarmCommand("echo $CAFFE_HARNESS_ITERATION", said.append)
    listener.start(Opening(tmp_path, "", 0, 900, layout_of(), 0.1, 0, 0))
    for iteration, onset in ((100, 90), (140, 90), (300, 99), (500, 480), (520, 482)):
        alarm = Alarm(iteration, "loss_jump", "loss", 9.0, 5.0)
        listener.alarms([alarm], [alarm], Divergence(Onset(onset, ""), None))
        listener.alarms([alarm], [], None)
    for process in listener._started:
        process.wait(60)
    assert (tmp_path / OUTPUT).read_text() == "100\n500\n"
    assert len(said) == 2


def test_a_command_that_cannot_be_started_is_noted(tmp_path: Path) -> None:
    said: list[str] = []
    listener = AlarmCommand("true", said.append)
    listener.start(Opening(tmp_path / "gone", "", 0, 900, layout_of(), 0.1, 0, 0))
    alarm = Alarm(5, "loss_jump", "loss", 9.0, 5.0)
    listener.alarms([alarm], [alarm], Divergence(Onset(4, ""), None))
    (sentence,) = said
    assert "could not be started" in sentence
