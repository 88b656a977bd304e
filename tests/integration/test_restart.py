"""restart.py continues from snapshots or windows, exactly if nothing is changed, and lists the changes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import h5py
import lmdb
import numpy as np
import pytest

from harness.caffe_files.messages import pb
from harness.recording import Recording
from harness.recording.lineage_reader import LineageReader
from tests.helpers.caffe_output import weights_of
from tests.helpers.commands import caffe_train, restart, train
from tests.helpers.nets import small_net, solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")

LAST = 30
LATE = "loss3/classifier"


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    """A run of 30 iterations with snapshots at 10, 20 and 30 and the window 12:17; its solver is next to it."""
    home = tmp_path_factory.mktemp("parent")
    (home / "net.prototxt").write_text(small_net(digit_data))
    fields = {"max_iter": LAST, "snapshot": 10, "test_interval": 7, "display": 5, "clip_gradients": 2}
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "run", **fields))
    train(home / "solver.prototxt", home / "run", "--watch", "12:17")
    return home / "run"


def digests(run: Path, iterations: Sequence[int]) -> list[int]:
    with Recording(run) as recording:
        by_iteration = dict(zip(recording.iterations.tolist(), recording.series("digest").tolist(), strict=True))
    return [by_iteration[t] for t in iterations]


@pytest.mark.parametrize("start", [0, 10, 20, 13, 16])
def test_an_unchanged_restart_repeats_the_run(parent: Path, tmp_path: Path, start: int) -> None:
    """From the start, from snapshots, and from inside the window, whose weights and updates were kept."""
    done = restart(parent, "--from", start, "--out", tmp_path / "again")
    assert done.stdout.strip() == str(tmp_path / "again")
    assert "Nothing is changed" in done.stderr
    span = range(start, LAST)
    assert digests(tmp_path / "again", span) == digests(parent, span)
    name = f"snapshots/run_iter_{LAST}.caffemodel"
    assert weights_of(tmp_path / "again" / name) == weights_of(parent / name)
    facts = json.loads((tmp_path / "again/run.json").read_text())
    assert facts["parent"]["run"] == str(parent)
    assert facts["parent"]["iteration"] == facts["first"] == start
    assert facts["not_exact"] == []
    with Recording(tmp_path / "again") as again, Recording(parent) as first:
        assert np.array_equal(again.series("loss"), first.series("loss")[start:])
        for output in again.test_outputs():
            iterations, values = again.test(output)
            theirs = dict(zip(*(a.tolist() for a in first.test(output)), strict=True))
            assert [theirs[t] for t in iterations.tolist()] == values.tolist()


def test_without_a_divergence_the_last_good_snapshot_is_the_newest(parent: Path, tmp_path: Path) -> None:
    done = restart(parent, "--set", "max_iter=34", "--out", tmp_path / "more")
    assert f"at iteration {LAST}: the newest snapshot; no divergence was found" in done.stderr
    assert "Changed: solver: max_iter 30 → 34" in done.stderr
    with LineageReader(Recording(tmp_path / "more")) as line:
        assert line.iterations.tolist() == list(range(34))


def test_a_changed_restart_trains_with_the_changes(parent: Path, tmp_path: Path) -> None:
    """The oracle: plain `caffe train` of the edited prototxts from the same solverstate, data from the first record."""
    changed = ("--set", "base_lr=0.002", "--set", "weight_decay=0.01", "--set-layer", "loss*/classifier:lr_mult=3")
    done = restart(parent, "--from", 10, *changed, "--data", "caffe", "--out", tmp_path / "child")
    assert "base_lr 0.01 → 0.002" in done.stderr
    assert len(re.findall(r"Changed: layer loss\d/classifier", done.stderr)) >= 2
    solver = (parent.parent / "solver.prototxt").read_text()
    solver = solver.replace("base_lr: 0.01\n", "base_lr: 0.002\n").replace("weight_decay: 0.0005", "weight_decay: 0.01")
    net = (parent.parent / "net.prototxt").read_text()
    for name in ("loss1/classifier", "loss3/classifier"):
        multipliers = "param { lr_mult: 3 } param { lr_mult: 3 }"
        net = net.replace(f'layer {{ name: "{name}"', f'layer {{ name: "{name}" {multipliers}')
    (tmp_path / "net.prototxt").write_text(net)
    solver = solver.replace(str(parent.parent / "net.prototxt"), str(tmp_path / "net.prototxt"))
    solver = solver.replace(f'snapshot_prefix: "{parent}"', f'snapshot_prefix: "{tmp_path}/plain"')
    (tmp_path / "solver.prototxt").write_text(solver)
    caffe_train(tmp_path / "solver.prototxt", f"--snapshot={parent}/snapshots/run_iter_10.solverstate")
    name = f"snapshots/run_iter_{LAST}.caffemodel"
    assert weights_of(tmp_path / "child" / name) == weights_of(tmp_path / f"plain_iter_{LAST}.caffemodel")
    changes = json.loads((tmp_path / "child/run.json").read_text())["parent"]["changes"]
    assert {"where": "solver", "field": "base_lr", "old": "0.01", "new": "0.002"} in changes


def test_history_is_rescaled_or_reset(parent: Path, tmp_path: Path) -> None:
    """At iteration 10 W(11) = W(10) - momentum x history - rate x gradient, and the gradient is the same for all."""
    runs = {}
    for history in ("keep", "rescale", "reset"):
        out = tmp_path / history
        arguments = ("--from", 10, "--set", "base_lr=0.005", "--set", "momentum=0.5", "--set", "clip_gradients=")
        restart(parent, *arguments, "--history", history, "--watch", "10:11", "--until", 11, "--out", out)
        with Recording(out) as recording:
            runs[history] = recording.update(10, LATE).astype(np.float64)
    state = pb.SolverState.FromString((parent / "snapshots/run_iter_10.solverstate").read_bytes())
    with Recording(parent) as recording:
        place = [(p.layer, p.index) for p in recording.params].index((LATE, 0))
    momentum = 0.5 * np.array(state.history[place].data).reshape(runs["keep"].shape)
    assert np.allclose(runs["keep"] - runs["reset"], momentum, rtol=1e-4, atol=1e-9)
    assert np.allclose(runs["rescale"] - runs["reset"], momentum / 2, rtol=1e-4, atol=1e-9)
    assert np.abs(momentum).max() > 1e-5


def test_skipped_data_is_not_trained_on(parent: Path, digit_data: Path, tmp_path: Path) -> None:
    restart(parent, "--from", 10, "--skip", "12:15", "--watch", "10:16", "--out", tmp_path / "child")
    with lmdb.open(str(digit_data / "train"), readonly=True) as data, data.begin() as transaction:
        keys = [bytes(key) for key in transaction.cursor().iternext(values=False)]
    with Recording(tmp_path / "child") as child, Recording(parent) as first:
        for t in range(10, 16):
            seen = t if t < 12 else t + 3
            assert child.keys(t) == [keys[n % len(keys)] for n in range(seen * 8, seen * 8 + 8)]
        # crops and mirrors come with their images
        assert np.array_equal(child.input(12, "data"), first.input(15, "data"))
        assert np.array_equal(child.input(13, "data"), first.input(16, "data"))
    # and a restart of the child goes on behind the gap
    restart(tmp_path / "child", "--from", 20, "--out", tmp_path / "grandchild")
    assert digests(tmp_path / "grandchild", range(20, LAST)) == digests(tmp_path / "child", range(20, LAST))


def test_data_can_be_skipped_from_the_start(parent: Path, tmp_path: Path) -> None:
    """The first weights equal those of the run, though its Data layer is replaced from the start."""
    restart(parent, "--from", 0, "--skip", "3:5", "--until", 6, "--out", tmp_path / "child")
    assert digests(tmp_path / "child", range(4)) == digests(parent, range(4))
    assert digests(tmp_path / "child", [4]) != digests(parent, [4])


def test_a_moved_run_restarts_and_reads_as_one_with_its_child(parent: Path, tmp_path: Path) -> None:
    shutil.copytree(parent, tmp_path / "moved")
    restart("moved", "--from", 20, "--out", "child", cwd=tmp_path)
    assert digests(tmp_path / "child", range(20, LAST)) == digests(parent, range(20, LAST))
    with Recording(parent) as recording, LineageReader(Recording(tmp_path / "child")) as line:
        assert line.iterations.tolist() == list(range(LAST))
        assert np.array_equal(line.series("loss"), recording.series("loss"))


BAD = {
    "an unknown field": (("--set", "base_rl=1"), ("base_rl", "Did you mean base_lr")),
    "a value of the wrong type": (("--set", "max_iter=many"), ("max_iter", "many")),
    "a layer that is not there": (("--set-layer", "fc8:lr_mult=1"), ("fc8",)),
    "an iteration of which nothing was kept": (("--from", 11), ("Snapshots: 0, 10, 20, 30", "In windows: 13 … 16")),
    "neither an iteration nor last-good": (("--from", "yesterday"), ("last-good",)),
    "data skipped before the start": (("--from", 20, "--skip", "12:15"), ("--skip 12:15", "20")),
    "skipping with Caffe's data": (("--from", 10, "--skip", "20:21", "--data", "caffe"), ("--data exact",)),
    "nothing left to do": ((), ("starts at iteration 30",)),
    "another solver type": (("--from", 10, "--set", "type=Adam"), ("Adam",)),
    "a solver type with as many history blobs": (
        ("--from", 10, "--set", "type=AdaGrad", "--set", "momentum=0"), ("SGD", "--history reset"),
    ),
    "a net that does not fit": (("--from", 10, "--set-layer", "loss3/classifier:num_output=6"), ("loss3/classifier",)),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), BAD.values(), ids=BAD)
def test_bad_input_is_one_clear_error(
    parent: Path, tmp_path: Path, arguments: tuple[object, ...], said: tuple[str, ...]
) -> None:
    done = restart(parent, *arguments, "--out", tmp_path / "child", code=2)
    assert done.stdout == ""
    for words in said:
        assert words in done.stderr.replace("\n", " ")
    assert not (tmp_path / "child").exists()


@pytest.mark.parametrize(("kind", "iteration"), [("weight", 14), ("update", 13)])
def test_a_window_that_changed_on_the_disk_is_refused(parent: Path, tmp_path: Path, kind: str, iteration: int) -> None:
    """A restart from iteration 14 needs its weights and the updates before it; that from 16 needs other rows."""
    shutil.copytree(parent, tmp_path / "run")
    with h5py.File(tmp_path / "run/recording.h5", "r+") as file:
        values = file[f"window/{kind}/{LATE}/1"]
        row = file["window/iteration"][:].tolist().index(iteration)
        values[row] = values[row] + 0.5
    done = restart(tmp_path / "run", "--from", 14, "--out", tmp_path / "child", code=2)
    said = done.stderr.replace("\n", " ")
    assert f"recording.h5: /window/{kind}/{LATE}/1 at iteration {iteration}: damaged" in said
    assert "restart from a snapshot" in said
    assert not (tmp_path / "child").exists()
    restart(tmp_path / "run", "--from", 16, "--out", tmp_path / "child")


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    done = restart(tmp_path, code=2)
    assert f"{tmp_path}/run.json" in done.stderr


def test_data_that_has_changed_is_refused(digit_data: Path, tmp_path: Path) -> None:
    shutil.copytree(digit_data, tmp_path / "data")
    (tmp_path / "net.prototxt").write_text(small_net(tmp_path / "data"))
    solver = tmp_path / "solver.prototxt"
    solver.write_text(solver_text(tmp_path / "net.prototxt", tmp_path / "run", max_iter=12, snapshot=5))
    train(solver, tmp_path / "run")
    with lmdb.open(str(tmp_path / "data/train")) as data, data.begin(write=True) as transaction:
        key, value = next(iter(transaction.cursor()))
        datum = pb.Datum.FromString(value)
        datum.label = (datum.label + 1) % 5
        transaction.put(bytes(key), datum.SerializeToString())
    done = restart(tmp_path / "run", "--from", 5, "--out", tmp_path / "child", code=2)
    assert "the LMDB has changed since the snapshot was made" in done.stderr.replace("\n", " ")
    restart(tmp_path / "run", "--from", 5, "--data", "caffe", "--out", tmp_path / "child")
