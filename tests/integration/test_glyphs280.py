"""The case in small, prototxt/glyphs280: its data, nets, solvers and base caffemodel."""

from __future__ import annotations

import difflib
import importlib.util
import itertools
import signal
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import lmdb
import numpy as np
import pytest
from google.protobuf import text_format
from rich.progress import Progress

from harness.caffe_files.messages import pb
from tests.helpers.paths import ROOT
from tests.helpers.processes import command, started, wait_for

FOLDER = ROOT / "prototxt/glyphs280"
CLASSIFIERS = {f"loss{n}/classifier_glyphs" for n in (1, 2, 3)}


def script(name: str) -> ModuleType:
    """Import a script of the folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


make_data = script("make_data")


def message(name: str, kind: Any) -> Any:
    return text_format.Parse((FOLDER / name).read_text(), kind())


def records(path: Path) -> list[tuple[str, Any]]:
    """The keys and Datums of an LMDB, in its order."""
    with lmdb.open(str(path), readonly=True, lock=False) as database, database.begin() as transaction:
        return [(bytes(key).decode(), pb.Datum.FromString(bytes(value))) for key, value in transaction.cursor()]


def made(out: Path, **changes: object) -> Path:
    recipe = make_data.Recipe(**{"classes": 12, "train": 150, "test": 24, "scans": 3, "scans_at": 40} | changes)
    with Progress(disable=True) as progress:
        make_data.make(out, recipe, progress)
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("glyphs") / "data")


# -- data -------------------------------------------------------------------------------------------------------------


def test_the_recipe_is_the_case_in_small() -> None:
    recipe = make_data.Recipe()
    assert (recipe.classes, recipe.train, recipe.test) == (280, 27_800, 2_800)
    batch = message("train_val.prototxt", pb.NetParameter).layer[0].data_param.batch_size
    assert {record // batch for record in range(recipe.scans_at, recipe.scans_at + recipe.scans)} == {841}


def test_own_and_base_glyphs_are_different_characters() -> None:
    own, base = make_data.alphabet(False, 280), make_data.alphabet(True, 280)
    assert len(set(own)) == len(set(base)) == 280
    assert not set(own) & set(base)
    assert len(make_data.faces()) == 12


def test_every_glyph_has_ink_in_every_face() -> None:
    for face, char in itertools.product(make_data.faces()[::4], make_data.alphabet(False, 280)):
        ink = np.asarray(make_data.master(face, char)) > 128
        assert 0.005 < ink.mean() < 0.6, (face.stem, char)
        assert not ink[[0, -1]].any(), (face.stem, char)
        assert not ink[:, [0, -1]].any(), (face.stem, char)


@pytest.mark.parametrize(("split", "count"), [("train", 150), ("test", 24)])
def test_records_equal_those_of_convert_imageset_shuffle(data: Path, split: str, count: int) -> None:
    found = records(data / f"{split}_lmdb")
    classes = [line.split()[0] for line in (data / "classes.txt").read_text(encoding="utf-8").splitlines()]
    labels = [datum.label for _, datum in found]
    assert len(found) == count
    assert len(classes) == 12
    assert set(Counter(labels).values()) <= {count // 12, count // 12 + 1}
    assert max(len(list(run)) for _, run in itertools.groupby(labels)) <= 4, "not shuffled"
    for index, (key, datum) in enumerate(found):
        suffix = "tif" if split == "train" and index in (40, 41, 42) else "png"
        assert key == f"{index:08d}_{classes[datum.label]}/{index:05d}.{suffix}"
        assert (datum.channels, datum.height, datum.width, datum.encoded) == (1, 32, 32, False)


def test_some_train_records_are_12_bit_scans(data: Path, tmp_path: Path) -> None:
    clean = records(made(tmp_path / "clean", scans=0) / "train_lmdb")
    for index, ((_, datum), (_, plain)) in enumerate(zip(records(data / "train_lmdb"), clean, strict=True)):
        if index in (40, 41, 42):
            assert not datum.data
            assert list(datum.float_data) == [round((255 - grey) * 4095 / 255) for grey in plain.data]
        else:
            assert datum == plain
            assert len(datum.data) == 1024


def test_the_same_seed_gives_the_same_records(data: Path, tmp_path: Path) -> None:
    again, other = made(tmp_path / "again"), made(tmp_path / "other", seed=281)
    for split in ("train_lmdb", "test_lmdb"):
        assert records(again / split) == records(data / split)
        assert records(other / split) != records(data / split)


def test_data_of_another_recipe_is_replaced(tmp_path: Path) -> None:
    out = made(tmp_path / "data", train=24, scans=0)
    assert make_data.made(out, make_data.Recipe(classes=12, train=24, test=24, scans=0, scans_at=40))
    assert not make_data.made(out, make_data.Recipe())
    made(out, train=36, scans=0)
    assert len(records(out / "train_lmdb")) == 36
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_an_interruption_leaves_nothing_incomplete(tmp_path: Path, kill: signal.Signals) -> None:
    with started(sys.executable, FOLDER / "make_data.py", "--out", tmp_path / "data") as maker:
        wait_for(lambda: list(tmp_path.glob(".data.*/fresh/train_lmdb/data.mdb")), maker, pause=0.01)
        maker.send_signal(kill)
        assert maker.wait(20) == (130 if kill == signal.SIGINT else -kill)
    assert not (tmp_path / "data").exists()
    if kill == signal.SIGINT:
        assert not list(tmp_path.iterdir())


def test_a_directory_with_other_content_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = command(sys.executable, FOLDER / "make_data.py", "--out", tmp_path)
    assert done.code == 2
    assert "--out" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "mine"


# -- nets and solvers -------------------------------------------------------------------------------------------------


def test_committed_nets_are_what_the_script_writes(tmp_path: Path) -> None:
    done = command(sys.executable, FOLDER / "make_net.py", "--out", tmp_path)
    assert done.code == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base_train_val.prototxt", "train_val.prototxt"]
    for path in tmp_path.iterdir():
        assert path.read_text() == (FOLDER / path.name).read_text(), path.name


def test_the_net_is_googlenet_in_small() -> None:
    net = message("train_val.prototxt", pb.NetParameter)
    layers = {layer.name: layer for layer in net.layer}
    assert [layer.type for layer in net.layer[:2]] == ["Data", "Data"]
    assert {"inception_3a/1x1", "inception_3a/3x3_reduce", "inception_3a/pool_proj", "loss1/fc"} < set(layers)
    losses = {layer.top[0]: layer.loss_weight[0] for layer in net.layer if layer.type == "SoftmaxWithLoss"}
    assert losses == pytest.approx({"loss1/loss1": 0.3, "loss2/loss1": 0.3, "loss3/loss3": 1})
    accuracies = {layer.top[0] for layer in net.layer if layer.type == "Accuracy"}
    assert accuracies == {f"loss{n}/top-{k}" for n in (1, 2, 3) for k in (1, 5)}
    for name in CLASSIFIERS:
        assert layers[name].inner_product_param.num_output == 280
        assert [(param.lr_mult, param.decay_mult) for param in layers[name].param] == [(10, 1), (20, 0)]


def test_healthy_solver_differs_in_the_learning_rate_alone() -> None:
    quick, healthy = ((FOLDER / f"{name}_solver.prototxt").read_text().splitlines() for name in ("quick", "healthy"))
    changed = [line for line in difflib.ndiff(quick, healthy) if line[0] in "+-"]
    assert changed == ["- base_lr: 0.005", "+ base_lr: 0.0005"]


def test_the_solver_is_that_of_the_case_with_lengths_and_rate_scaled() -> None:
    solver = message("quick_solver.prototxt", pb.SolverParameter)
    assert (solver.display, solver.average_loss, solver.test_initialization) == (40, 40, False)
    assert (solver.lr_policy, solver.power) == ("poly", 0.5)
    assert (solver.momentum, solver.weight_decay) == pytest.approx((0.9, 0.0002))
    assert solver.test_iter[0] * 32 >= 2_800
    assert solver.random_seed == 280
    assert not solver.HasField("clip_gradients")


LOADER = """
import sys, caffe, numpy as np
net = caffe.Net(sys.argv[1], caffe.TEST)
before = {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}
net.copy_from(sys.argv[2])
for name, blobs in net.params.items():
    same = all(np.array_equal(blob.data, old) for blob, old in zip(blobs, before[name]))
    print(name, "new" if same else "copied", sum(blob.data.size for blob in blobs))
"""


def test_the_base_caffemodel_has_weights_for_all_layers_but_the_classifiers(tmp_path: Path) -> None:
    net = message("train_val.prototxt", pb.NetParameter)
    del net.layer[:2]
    shape = pb.InputParameter(shape=[pb.BlobShape(dim=[1, 1, 28, 28]), pb.BlobShape(dim=[1])])
    net.layer.insert(0, pb.LayerParameter(type="Input", top=["data", "label"], input_param=shape))
    (tmp_path / "net.prototxt").write_text(text_format.MessageToString(net))
    done = command(sys.executable, "-c", LOADER, tmp_path / "net.prototxt", FOLDER / "base.caffemodel")
    assert done.code == 0, done.stderr
    found = [line.split() for line in done.stdout.splitlines()]
    assert {name for name, state, _ in found if state == "new"} == CLASSIFIERS
    assert len(found) == 26
    assert sum(int(size) for *_, size in found) < 300_000
    assert (FOLDER / "base.caffemodel").stat().st_size < 1_200_000
