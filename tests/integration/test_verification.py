"""Restarts and resumes compare their digests with those of the run that they continue, and report the first difference.

The oracle is h5py: the digests of both recordings, read and compared here.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import pytest

from harness.api.runs import exactness, open_run
from tests.helpers.commands import RUN, restart, train
from tests.helpers.nets import small_net, solver_text
from tests.helpers.preloaded import harness_command
from tests.helpers.processes import started, wait_for

pytestmark = pytest.mark.usefixtures("one_blas_thread")

LAST = 24
FIELDS = {"max_iter": LAST, "snapshot": 8, "test_interval": 7, "display": 5}

NOISE = """from itertools import count
import numpy as np
import caffe

class Noise(caffe.Layer):
    calls = count()
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top):
        call = next(Noise.calls)
        top[0].data[...] = bottom[0].data + (np.random.rand() if call >= 5 else 0)
    def backward(self, top, propagate_down, bottom): bottom[0].diff[...] = top[0].diff
"""


def digests(run: Path) -> dict[int, int]:
    with h5py.File(run / "recording.h5") as file:
        return dict(zip(file["iteration"][:].tolist(), file["digest"][:].tolist(), strict=True))


def first_difference(one: Path, two: Path) -> int | None:
    a, b = digests(one), digests(two)
    return next((t for t in sorted(a.keys() & b.keys()) if a[t] != b[t]), None)


def verified(run: Path) -> dict[str, Any]:
    found = json.loads((run / "run.json").read_text())["verified"]
    assert isinstance(found, dict)
    return found


def write(home: Path, data: Path, **fields: object) -> Path:
    (home / "net.prototxt").write_text(small_net(data))
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "run", **FIELDS | fields))
    return home / "solver.prototxt"


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    home = tmp_path_factory.mktemp("verified")
    train(write(home, digit_data), home / "run")
    assert json.loads((home / "run/run.json").read_text())["verified"] is None
    return home / "run"


def page(run: Path, *options: object) -> str:
    """The text of a page of report.py."""
    done = harness_command("report", run, *options, "--out", run / "page.html")
    assert done.code == 0, done.stderr
    return html.unescape(re.sub(r"<script.*?</script>|<[^>]*>", "", (run / "page.html").read_text(), flags=re.DOTALL))


@pytest.mark.parametrize("start", [0, 8])
def test_an_unchanged_restart_is_verified_at_every_common_iteration(parent: Path, tmp_path: Path, start: int) -> None:
    done = restart(parent, "--from", start, "--out", tmp_path / "child")
    assert first_difference(parent, tmp_path / "child") is None
    count = len(digests(parent).keys() & digests(tmp_path / "child").keys())
    assert count == LAST - start
    found = verified(tmp_path / "child")
    assert found["against"] == [str(parent)]
    assert (found["first"], found["through"], found["compared"], found["equal"]) == (start, LAST - 1, count, count)
    assert (found["first_difference"], found["final"], found["problem"]) == (None, True, None)
    sentence = f"Verified: its digests equal those of {parent} at {count} of {count} iterations that both recorded"
    assert sentence in done.stderr
    if start == 0:
        return
    compared = harness_command("compare", parent, tmp_path / "child")
    assert f"B: {sentence}" in compared.stdout
    assert sentence in page(parent, "--compare", tmp_path / "child")
    with open_run(tmp_path / "child") as recording:
        assert f"{sentence} ({start}…{LAST - 1}), and so do the final weights." in exactness(recording).sentence


CHANGES: dict[str, tuple[tuple[object, ...], int, int | None]] = {
    "a rate, a layer and the momentum": (
        ("--set", "base_lr=0.001", "--set-layer", "loss3/classifier:lr_mult=3", "--history", "reset"),
        1,
        8,
    ),
    "skipped data": (("--skip", "12:14"), 5, 12),
    "caffe's data": (("--data", "caffe"), 1, 8),
    "nothing that acts on weights": (
        ("--set", "snapshot=3", "--set", "test_interval=4", "--set", "display=2"),
        16,
        None,
    ),
}


@pytest.mark.parametrize(("arguments", "count", "through"), CHANGES.values(), ids=CHANGES)
def test_a_changed_restart_is_compared_up_to_where_the_change_acts(
    parent: Path, tmp_path: Path, arguments: tuple[object, ...], count: int, through: int | None
) -> None:
    done = restart(parent, "--from", 8, *arguments, "--out", tmp_path / "child")
    found = verified(tmp_path / "child")
    assert (found["compared"], found["equal"], found["unchanged_through"]) == (count, count, through)
    other = first_difference(parent, tmp_path / "child")
    assert other == (None if through is None else through + 1)
    assert ("Verified: its digests equal" in done.stderr) == (found["first_difference"] is None)


def test_other_kernels_of_blas_are_found(parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    done = restart(parent, "--from", 8, "--out", tmp_path / "child")
    other = first_difference(parent, tmp_path / "child")
    assert other is not None
    found = verified(tmp_path / "child")
    assert found["first_difference"] == other
    assert found["compared"] == LAST - 8
    assert found["equal"] == other - 8  # and never again
    assert f"Iteration {other}: the weights differ from those that {parent} recorded" in done.stderr
    assert f"Known reasons: {json.loads((tmp_path / 'child/run.json').read_text())['not_exact'][0]}" in done.stderr
    assert f"at {other - 8} of {LAST - 8} iterations that both recorded" in done.stderr


def test_a_restart_takes_the_kernels_of_its_parent(
    tmp_path: Path, digit_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor runs the kernels for an older one as well: the run may have been recorded on that."""
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    train(write(tmp_path, digit_data), tmp_path / "run", "--until", 4)
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    restart(tmp_path / "run", "--from", 0, "--out", tmp_path / "child")
    info = json.loads((tmp_path / "child/run.json").read_text())
    assert info["blas"]["core"] == "Nehalem"
    assert not info["not_exact"]
    found = verified(tmp_path / "child")
    assert found["equal"] == found["compared"] > 0


def test_other_weights_at_the_start_are_found(parent: Path, tmp_path: Path, digit_data: Path) -> None:
    """The caffemodel that the run was fine-tuned from is another one when it is restarted from iteration 0."""
    model = tmp_path / "start.caffemodel"
    shutil.copy(parent / "snapshots/run_iter_8.caffemodel", model)
    train(write(tmp_path, digit_data), tmp_path / "run", "--weights", model, "--until", 4)
    shutil.copy(parent / "snapshots/run_iter_16.caffemodel", model)
    done = restart(tmp_path / "run", "--from", 0, "--until", 4, "--out", tmp_path / "child")
    assert first_difference(tmp_path / "run", tmp_path / "child") == 0
    found = verified(tmp_path / "child")
    assert (found["first_difference"], found["compared"], found["equal"], found["final"]) == (0, 4, 0, False)
    assert "Iteration 0: the weights at the start of this run differ from those that" in done.stderr


def test_other_final_weights_are_found(parent: Path, tmp_path: Path) -> None:
    """The parent's digest of its final weights is altered."""
    run = tmp_path / "run"
    shutil.copytree(parent, run)
    info = json.loads((run / "run.json").read_text())
    info["ended"]["weight_digest"] = "0" * 16
    (run / "run.json").write_text(json.dumps(info))
    done = restart(run, "--from", 16, "--out", tmp_path / "child")
    found = verified(tmp_path / "child")
    assert (found["first_difference"], found["compared"], found["equal"]) == (LAST, LAST - 16, LAST - 16)
    assert found["final"] is False
    assert f"Iteration {LAST}: the weights differ" in done.stderr


def test_digests_of_another_kind_are_not_compared(parent: Path, tmp_path: Path) -> None:
    """As where an older version restarted a newer run."""
    run = tmp_path / "run"
    shutil.copytree(parent, run)
    with h5py.File(run / "recording.h5", "r+") as file:
        del file.attrs["digest_kind"], file.attrs["checksum"]
    restart(run, "--from", 16, "--out", tmp_path / "child")
    found = verified(tmp_path / "child")
    assert (found["compared"], found["first_difference"]) == (0, None)
    assert found["problem"] == f"{run} hashed its weights by xxh3, and this run by multilinear"


def test_a_run_that_stopped_is_followed_by_its_continuation(tmp_path: Path, digit_data: Path) -> None:
    """Also where the continuation was resumed with run.py; others, with something changed, do not count."""
    solver = write(tmp_path, digit_data)
    train(solver, tmp_path / "run", "--until", 16)
    restart(tmp_path / "run", "--set", "base_lr=0.1", "--out", tmp_path / "a-changed")
    state = tmp_path / "run/snapshots/run_iter_16.solverstate"
    resumed = train(solver, tmp_path / "b-resumed", "--resume", state)
    found = verified(tmp_path / "b-resumed")
    assert (found["compared"], found["equal"], found["through"]) == (1, 1, 16)  # the final weights of the run
    assert "Verified: its digests equal" in resumed.stderr
    restart(tmp_path / "run", "--from", 8, "--out", tmp_path / "c-again")
    found = verified(tmp_path / "c-again")
    assert found["against"] == [str(tmp_path / "run"), str(tmp_path / "b-resumed")]
    assert (found["compared"], found["equal"], found["final"]) == (16, 16, True)
    assert first_difference(tmp_path / "b-resumed", tmp_path / "c-again") is None
    # and a run that stopped earlier than the one that it continues is followed by that one
    restart(tmp_path / "run", "--from", 8, "--until", 12, "--out", tmp_path / "d-short")
    restart(tmp_path / "d-short", "--out", tmp_path / "e-further")
    found = verified(tmp_path / "e-further")
    assert (found["first"], found["through"], found["compared"], found["equal"]) == (12, 23, 12, 12)
    assert found["against"][:2] == [str(tmp_path / name) for name in ("d-short", "run")]
    assert found["final"] is True
    assert first_difference(tmp_path / "a-changed", tmp_path / "c-again") == 17


def test_a_run_in_progress_or_killed_is_read_as_far_as_it_goes(tmp_path: Path, digit_data: Path) -> None:
    solver = write(tmp_path, digit_data, max_iter=1_000_000, lr_policy='"fixed"')
    run = tmp_path / "run"
    with started(sys.executable, RUN, "--solver", solver, "--out", run, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: (run / "snapshots/run_iter_800.json").exists(), process)
        restart(run, "--from", 8, "--until", 60, "--out", tmp_path / "live")
        assert process.poll() is None
    restart(run, "--from", 8, "--until", 60, "--out", tmp_path / "killed")
    for child in ("live", "killed"):
        found = verified(tmp_path / child)
        assert (found["compared"], found["equal"], found["final"], found["problem"]) == (52, 52, True, None)


def test_a_run_without_a_readable_recording_is_no_error(parent: Path, tmp_path: Path) -> None:
    for name, content in (("gone", None), ("damaged", b"no recording")):
        shutil.copytree(parent, tmp_path / name)
        (tmp_path / name / "recording.h5").unlink()
        if content is not None:
            (tmp_path / name / "recording.h5").write_bytes(content)
        done = restart(tmp_path / name, "--from", 8, "--until", 10, "--out", tmp_path / f"{name}-child")
        found = verified(tmp_path / f"{name}-child")
        assert found["compared"] == 0
        assert str(tmp_path / name / "recording.h5") in found["problem"]
        assert f"Not verified: {found['problem']}" in done.stderr
    solver = parent.parent / "solver.prototxt"
    state = tmp_path / "alone.solverstate"
    shutil.copy(parent / "snapshots/run_iter_8.solverstate", state)
    alone = train(solver, tmp_path / "native", "--resume", state, "--until", 10)
    assert "Not verified: no recording of the training that it continues is known" in alone.stderr


def test_a_python_layer_with_random_numbers_is_found(
    tmp_path: Path, digit_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It draws from the sixth iteration on: the first weights that can differ are those of iteration 6."""
    (tmp_path / "noise.py").write_text(NOISE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    solver = write(tmp_path, digit_data, test_iter=None, test_interval=None)
    net = tmp_path / "net.prototxt"
    noise = """layer { name: "noise" type: "Python" bottom: "loss3/classifier" top: "noise"
  python_param { module: "noise" layer: "Noise" } include { phase: TRAIN } }"""
    text = net.read_text().replace('bottom: "loss3/classifier" bottom: "label" top: "loss3/loss3"',
                                   'bottom: "noise" bottom: "label" top: "loss3/loss3"')  # fmt: skip
    net.write_text(text.replace('layer { name: "loss3/loss3"', f'{noise}\nlayer {{ name: "loss3/loss3"'))
    train(solver, tmp_path / "run")
    run, child = tmp_path / "run", tmp_path / "child"
    done = restart(run, "--from", 0, "--out", child)
    assert "Exact if layer noise (Python) does the same in every run" in done.stderr
    other = first_difference(run, child)
    assert other == 6
    assert verified(child)["first_difference"] == other
    assert f"Iteration {other}: the weights differ from those that {run} recorded" in done.stderr
    text = page(run)
    assert "A restart from iteration 0 repeats it bit for bit" in text
    assert "if layer noise (Python) does the same in every run, which only its code tells" in text
    assert "A restart from a snapshot is not exact: layer noise (Python) may keep a state of its own." in text
    assert f"the first weights that differ are those of iteration {other}" in page(child)
