"""What is given in place of something else is recognised, and the message says what takes it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.caffe_files.edits import set_fields, set_layer_fields
from harness.caffe_files.file_kind import (
    Kind,
    check_log,
    check_solver,
    check_state,
    check_weights,
    kind_of,
    run_given,
)
from harness.caffe_files.messages import pb
from harness.capsules.file.archive import open_capsule
from harness.errors import BadInput
from tests.helpers.paths import CASE, ROOT

GLYPHS = ROOT / "prototxt/glyphs280"
QUIET = "I0101 10:00:00.000000 12 net.cpp:1] nothing\n"


def capsule_given(path: Path) -> None:
    with open_capsule(path):
        pass


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind; the run holds a snapshot."""
    home = tmp_path_factory.mktemp("kinds")
    run = home / "runs/one"
    (run / "snapshots").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    (run / "recording.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (run / "solver.log").write_text(QUIET)
    (home / "lmdb").mkdir()
    (home / "lmdb/data.mdb").touch()
    state = pb.SolverState(iter=5, learned_net="x").SerializeToString()
    for place in (home, run / "snapshots"):
        (place / "x_iter_5.solverstate").write_bytes(state)
        (place / "x_iter_5.caffemodel").write_bytes(pb.NetParameter(name="x").SerializeToString())
    (home / "net.prototxt").write_text("# a net\nname: 'n'\nlayer { name: 'x' }\n")
    (home / "solver.prototxt").write_text("net: 'some/net.prototxt'  # relative\nbase_lr: 0.1\n")
    (home / "whole.prototxt").write_text("base_lr: 0.1\nnet_param {\n  layer { name: 'x' }\n}\n")
    (home / "noted.prototxt").write_text(f"# {QUIET}# Iteration 40, loss = 2\nnet: 'x'\nbase_lr: 0.1\n")
    (home / "bare.log").write_text("Iteration 40, loss = 2.5\n")
    (home / "x.log").write_text(QUIET + "base_lr: 0.1\nlayer {\n")
    (home / "notes.txt").write_text("hello\n")
    for name, entry in (("x.capsule", "capsule.json"), ("x.zip", "notes.txt")):
        with zipfile.ZipFile(home / name, "w") as archive:
            archive.writestr(entry, "{}")
    return home


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("runs/one", Kind.RUN),
        ("runs", Kind.RUNS),
        ("runs/one/snapshots", Kind.SNAPSHOTS),
        ("runs/one/recording.h5", Kind.RECORDING),
        ("runs/one/run.json", Kind.INFO),
        ("runs/one/solver.log", Kind.LOG),
        ("lmdb", Kind.LMDB),
        ("net.prototxt", Kind.NET),
        ("solver.prototxt", Kind.SOLVER),
        ("x_iter_5.caffemodel", Kind.WEIGHTS),
        ("x_iter_5.solverstate", Kind.STATE),
        ("x.log", Kind.LOG),
        ("bare.log", Kind.LOG),
        ("whole.prototxt", Kind.SOLVER),
        ("noted.prototxt", Kind.SOLVER),
        ("x.capsule", Kind.CAPSULE),
        ("x.zip", None),
        ("notes.txt", None),
        ("nothing", None),
    ],
)
def test_kinds(home: Path, name: str, kind: Kind | None) -> None:
    assert kind_of(home / name) == kind


def test_files_of_the_project_are_recognised() -> None:
    for path in (ROOT / "prototxt").glob("*/*.prototxt"):
        assert kind_of(path) == (Kind.SOLVER if "solver" in path.name else Kind.NET)
    assert kind_of(CASE) == Kind.LOG
    assert kind_of(GLYPHS / "base.caffemodel") == Kind.WEIGHTS


@pytest.mark.parametrize(
    ("check", "name", "said"),
    [
        (run_given, "x.log", "a log, not a run directory. Read it with "),
        (run_given, "x.log", "caffe-harness readlog {home}/x.log"),
        (run_given, "solver.prototxt", "caffe-harness run --solver {home}/solver.prototxt"),
        (run_given, "x_iter_5.solverstate", "--resume {home}/x_iter_5.solverstate"),
        (run_given, "runs", "Name one of them: {home}/runs/one"),
        (run_given, "runs/one/solver.log", "Give the directory of its run: {home}/runs/one"),
        (run_given, "runs/one/snapshots/x_iter_5.solverstate", "restart {home}/runs/one --from 5"),
        (run_given, "x.capsule", "caffe-harness capsule open {home}/x.capsule --out RUN"),
        (capsule_given, "runs/one", "a run directory, not a capsule. Make one of it with "),
        (check_solver, "net.prototxt", "a net prototxt, not a solver prototxt"),
        (check_solver, "net.prototxt", "in its field `net`: {home}/solver.prototxt"),
        (check_solver, "runs/one", "caffe-harness restart {home}/runs/one"),
        (check_solver, "x_iter_5.caffemodel", "--weights {home}/x_iter_5.caffemodel"),
        (check_weights, "x_iter_5.solverstate", "--resume {home}/x_iter_5.solverstate"),
        (check_weights, "x_iter_5.solverstate", "--weights {home}/x_iter_5.caffemodel"),
        (check_weights, "runs/one", "Name a caffemodel in it: {home}/runs/one/snapshots/x_iter_5.caffemodel"),
        (check_weights, "solver.prototxt", "It belongs to --solver"),
        (check_state, "x_iter_5.caffemodel", "a caffemodel, not a solverstate"),
        (check_state, "x_iter_5.caffemodel", "{home}/x_iter_5.solverstate"),
        (check_state, "runs/one", "caffe-harness restart {home}/runs/one"),
        (check_state, "runs/one/snapshots", "Name a solverstate in it: {home}/runs/one/snapshots/x_iter_5.solverstate"),
        (check_log, "runs/one/recording.h5", "Give the directory of its run: {home}/runs/one"),
        (check_log, "solver.prototxt", "belongs to --solver {home}/solver.prototxt"),
        (check_log, "lmdb", "an LMDB, not a log"),
    ],
)
def test_the_message_says_what_takes_it(home: Path, check: Callable[[Path], object], name: str, said: str) -> None:
    with pytest.raises(BadInput) as error:
        check(home / name)
    assert said.format(home=home) in str(error.value)


def test_what_is_meant_or_unknown_passes(home: Path) -> None:
    for name in ("runs/one", "runs/one/recording.h5", "runs/one/run.json"):
        assert run_given(home / name) == home / "runs/one"
    for path in (home / "notes.txt", home / "nothing"):
        assert run_given(path) == path
        for check in (check_solver, check_weights, check_state, check_log):
            check(path)
    check_solver(home / "solver.prototxt")
    check_weights(home / "x_iter_5.caffemodel")
    check_state(home / "x_iter_5.solverstate")
    check_log(home / "runs/one")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr=0.1", "Caffe calls it base_lr: --set base_lr=0.1"),
        ("learning_rate=0.1", "--set base_lr=0.1"),
        ("clip=10", "--set clip_gradients=10"),
        ("Optimizer=Adam", "--set type=Adam"),
        ("batch_size=8", "It is a field of layers: --set-layer 'GLOB:batch_size=8'"),
        ("lr_mult=0", "--set-layer 'GLOB:lr_mult=0'"),
        ("base_lt=0.1", "Did you mean base_lr?"),
    ],
)
def test_other_names_of_a_field_of_the_solver(text: str, said: str) -> None:
    with pytest.raises(BadInput) as error:
        set_fields(pb.SolverParameter(), [text])
    assert "SolverParameter has no field" in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("conv*:lr=0", "Caffe calls it lr_mult: --set-layer 'conv*:lr_mult=0'"),
        ("conv*:filters=8", "--set-layer 'conv*:num_output=8'"),
        ("conv*:base_lr=0.1", "It is a field of the solver: --set base_lr=0.1"),
    ],
)
def test_other_names_of_a_field_of_a_layer(text: str, said: str) -> None:
    net = pb.NetParameter(layer=[pb.LayerParameter(name="conv1", type="Convolution")])
    with pytest.raises(BadInput) as error:
        set_layer_fields([net], [text])
    assert said in str(error.value)
