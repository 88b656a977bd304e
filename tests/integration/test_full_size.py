"""The case at full size: GoogLeNet and, as the control, VGG-16, with 280 classes.

Structure is compared with Caffe's own bvlc_googlenet in the pinned source, values with the question, and training with
plain pycaffe, on encoded colour images.
"""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from google.protobuf import text_format

from harness.caffe_files.field_values import flatten
from harness.caffe_files.messages import pb
from harness.recording import Recording, Window
from tests.helpers.commands import train
from tests.helpers.full_size import GOOGLENET, PUBLIC, RENAMED, VGG16, net_of, trained
from tests.helpers.paths import CACHE, ROOT
from tests.helpers.processes import command
from tools.caffe_build import caffe_source

pytestmark = pytest.mark.usefixtures("one_blas_thread")

SEED = 280


@pytest.fixture(scope="module")
def bvlc_googlenet(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Caffe's own net, from the pinned sdist that tools/setup has left in its cache."""
    sdist = CACHE / caffe_source.SDIST
    if not sdist.is_file():
        sdist = tmp_path_factory.mktemp("source") / caffe_source.SDIST
        caffe_source.download(sdist)
    assert hashlib.sha256(sdist.read_bytes()).hexdigest() == caffe_source.SHA256
    with tarfile.open(sdist) as archive:
        name = f"{caffe_source.SDIST.removesuffix('.tar.gz')}/models/bvlc_googlenet/train_val.prototxt"
        file = archive.extractfile(name)
        assert file is not None
        return text_format.Parse(file.read().decode(), pb.NetParameter())


# -- nets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", [GOOGLENET, VGG16], ids=lambda folder: folder.name)
def test_the_committed_net_is_what_the_script_writes(tmp_path: Path, folder: Path) -> None:
    done = command(sys.executable, folder / "make_net.py", "--out", tmp_path)
    assert done.code == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["train_val.prototxt"]
    assert (tmp_path / "train_val.prototxt").read_bytes() == (folder / "train_val.prototxt").read_bytes()


def test_googlenet_differs_from_caffes_own_only_where_the_question_changed_it(bvlc_googlenet: Any) -> None:
    ours = net_of(GOOGLENET)
    back = dict(zip(RENAMED, PUBLIC, strict=True))
    names = [(back.get(layer.name, layer.name), layer.type) for layer in ours.layer]
    assert names == [(layer.name, layer.type) for layer in bvlc_googlenet.layer]
    assert len(names) == 166

    expected: dict[str, tuple[str, str]] = {
        "name": ("GoogleNet", "GoogleNet280"),
        "data.data_param.source": (
            "examples/imagenet/ilsvrc12_train_lmdb",
            "prototxt/googlenet280/data/train_lmdb",
        ),
        "data #2.data_param.source": (
            "examples/imagenet/ilsvrc12_val_lmdb",
            "prototxt/googlenet280/data/test_lmdb",
        ),
        "data #2.data_param.batch_size": ("50", "32"),
        "loss2/loss.top": ("loss2/loss2", "loss2/loss1"),  # as the asker's log has it: that Caffe was older
    }
    for number, (public, renamed) in enumerate(zip(PUBLIC, RENAMED, strict=True), 1):
        loss = "loss3/loss3" if number == 3 else f"loss{number}/loss"
        expected |= {
            f"{public}.top": (public, renamed),
            f"{public}.inner_product_param.num_output": ("1000", "280"),
            f"{public}.param.lr_mult": ("1.0", "10.0"),
            f"{public}.param #2.lr_mult": ("2.0", "20.0"),
            f"{loss}.bottom": (public, renamed),
            f"loss{number}/top-1.bottom": (public, renamed),
            f"loss{number}/top-5.bottom": (public, renamed),
        }
    theirs = flatten(bvlc_googlenet)
    for layer in ours.layer:
        layer.name = back.get(layer.name, layer.name)
    mine = flatten(ours)
    differing = sorted(path for path in theirs.keys() | mine.keys() if theirs.get(path) != mine.get(path))
    assert {path: (theirs.get(path), mine.get(path)) for path in differing} == expected


# -- images -----------------------------------------------------------------------------------------------------------


def images(out: Path, *arguments: object) -> Path:
    done = command(sys.executable, GOOGLENET / "make_images.py", "--out", out, *arguments)
    assert done.code == 0, done.stderr
    return out


def records(path: Path) -> list[tuple[bytes, bytes]]:
    with lmdb.open(str(path), readonly=True, lock=False) as database, database.begin() as transaction:
        return [(bytes(key), bytes(value)) for key, value in transaction.cursor()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory to train in: both folders with their prototxts at batch 2, and a few example images."""
    home = tmp_path_factory.mktemp("full")
    for folder in (GOOGLENET, VGG16):
        copy = home / folder.relative_to(ROOT)
        copy.mkdir(parents=True)
        for path in folder.glob("*.prototxt"):
            seeded = f"random_seed: {SEED}\n" if "solver" in path.name else ""
            (copy / path.name).write_text(path.read_text().replace("batch_size: 32", "batch_size: 2") + seeded)
    images(home / "prototxt/googlenet280/data", "--train", 24, "--test", 6)
    yield home
    shutil.rmtree(home)  # a gigabyte


def test_the_example_images_are_reproducible_colour_jpegs(home: Path, tmp_path: Path) -> None:
    import cv2

    again = images(tmp_path / "data", "--train", 24, "--test", 6)
    for split, count in (("train", 24), ("test", 6)):
        found = records(home / f"prototxt/googlenet280/data/{split}_lmdb")
        assert found == records(again / f"{split}_lmdb")
        assert len(found) == count
        datums = [pb.Datum.FromString(value) for _, value in found]
        assert sorted(datum.label for datum in datums) == list(range(count))
        for datum in datums:
            assert datum.encoded
            image = cv2.imdecode(np.frombuffer(datum.data, np.uint8), cv2.IMREAD_UNCHANGED)
            assert image is not None
            assert image.shape == (256, 256, 3)
            assert np.ptp(image, axis=-1).max() > 30, "grey"
            assert image.std() > 5


def test_existing_images_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = command(sys.executable, GOOGLENET / "make_images.py", "--out", tmp_path)
    assert done.code == 2
    assert "--out" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# -- runs -------------------------------------------------------------------------------------------------------------

# Plain pycaffe: argv are a prototxt without data layers and the caffemodel to write.
_PUBLISH = """
import sys, caffe
caffe.set_random_seed(1)
caffe.Net(sys.argv[1], caffe.TRAIN).save(sys.argv[2])
"""

# Plain pycaffe: argv are a solver, a caffemodel, a number of iterations, the .npz to write.
_TRAIN = """
import sys, caffe, numpy as np
caffe.set_mode_cpu()
solver = caffe.get_solver(sys.argv[1])
solver.net.copy_from(sys.argv[2])
before = {f"before {name} {i}": blob.data.copy() for name, blobs in solver.net.params.items()
          for i, blob in enumerate(blobs)}
solver.step(int(sys.argv[3]))
np.savez(sys.argv[4], **before, **{f"{name} {i}": blob.data for name, blobs in solver.net.params.items()
                                   for i, blob in enumerate(blobs)})
"""

LAST = 3


@dataclass(frozen=True)
class Trained:
    """GoogLeNet from 0 to LAST under the harness, once more from 1, and from 0 under plain pycaffe (at `native`)."""

    said: str
    whole: Path
    resumed: Path
    native: Path
    public: Path


@pytest.fixture(scope="module")
def googlenet(home: Path, bvlc_googlenet: Any) -> Trained:
    net = pb.NetParameter()
    net.CopyFrom(bvlc_googlenet)
    del net.layer[:2]
    shape = pb.InputParameter(shape=[pb.BlobShape(dim=[1, 3, 224, 224]), pb.BlobShape(dim=[1])])
    net.layer.insert(0, pb.LayerParameter(type="Input", top=["data", "label"], input_param=shape))
    (home / "public.prototxt").write_text(text_format.MessageToString(net))
    public = home / "prototxt/googlenet280/bvlc_googlenet.caffemodel"
    done = command(sys.executable, "-c", _PUBLISH, home / "public.prototxt", public)
    assert done.code == 0, done.stderr

    solver, native = Path("prototxt/googlenet280/quick_solver.prototxt"), home / "native.npz"
    done = command(sys.executable, "-c", _TRAIN, solver, public, LAST, native, cwd=home)
    assert done.code == 0, done.stderr
    options = ("--until", LAST, "--weights", public, "--watch", "0:2", "--snapshot-every", 1)
    first = train(solver, home / "whole", *options, cwd=home)
    state = home / "whole/snapshots/googlenet280_quick_iter_1.solverstate"
    again = train(solver, home / "resumed", "--until", LAST, "--resume", state, "--watch", "1:3", cwd=home)
    assert "Resuming at iteration 1 exactly" in again.stderr
    return Trained(first.stderr, home / "whole", home / "resumed", native, public)


def test_all_but_the_renamed_layers_are_listed_as_copied(googlenet: Trained) -> None:
    said = re.search(r"Weights from (\S+): copied (.*); new, left as initialised: (.*); in the file only: (.*)",
                     googlenet.said)  # fmt: skip
    assert said is not None
    copied = [name for name in trained(net_of(GOOGLENET)) if name not in RENAMED]
    assert said[1] == str(googlenet.public)
    assert said[2] == f"{len(copied)} ({', '.join(copied)})"
    assert said[3] == f"3 ({', '.join(RENAMED)})"
    assert said[4] == f"3 ({', '.join(PUBLIC)})"


def test_all_but_the_renamed_layers_have_the_public_weights(googlenet: Trained) -> None:
    published = pb.NetParameter.FromString(googlenet.public.read_bytes())
    blobs = {(layer.name, i): blob for layer in published.layer for i, blob in enumerate(layer.blobs)}
    run = Recording(googlenet.whole)
    with np.load(googlenet.native) as native:
        for p in run.params:
            weight = run.weight(0, p.layer, p.index)
            if (p.layer, p.index) in blobs:
                assert np.array_equal(weight.ravel(), np.array(blobs.pop((p.layer, p.index)).data, np.float32)), p
            else:
                assert p.layer in RENAMED
                assert np.array_equal(weight, native[f"before {p.layer} {p.index}"]), p
    assert {name for name, _ in blobs} == set(PUBLIC)
    assert len(run.params) == 128


def test_full_size_googlenet_trains_and_resumes_with_the_bits_of_pycaffe(googlenet: Trained) -> None:
    whole, resumed = Recording(googlenet.whole), Recording(googlenet.resumed)
    assert (whole.windows, resumed.windows) == ((Window(0, 2),), (Window(1, 3),))
    assert list(resumed.series("digest")) == list(whole.series("digest")[1:])
    assert list(resumed.series("loss")) == list(whole.series("loss")[1:])
    assert np.array_equal(resumed.input(1, "data"), whole.input(1, "data"))  # decoded, mirrored and cropped alike
    with np.load(googlenet.native) as native:
        for p in resumed.params:
            last = resumed.weight(2, p.layer, p.index) - resumed.update(2, p.layer, p.index)
            assert np.array_equal(last, native[f"{p.layer} {p.index}"]), p
            assert np.array_equal(resumed.gradient(1, p.layer, p.index), whole.gradient(1, p.layer, p.index)), p


def test_the_window_contains_the_crops_of_the_images_of_its_keys(googlenet: Trained, home: Path) -> None:
    run = Recording(googlenet.resumed)
    labels = {
        key: pb.Datum.FromString(value).label for key, value in records(home / "prototxt/googlenet280/data/train_lmdb")
    }
    keys = run.keys(2)
    assert keys == list(labels)[4:6]
    assert [int(label) for label in run.input(2, "label")] == [labels[key] for key in keys]
    data = run.input(2, "data")
    assert data.shape == (2, 3, 224, 224)
    assert (data.min(axis=(0, 2, 3)) >= -np.array([104, 117, 123])).all()
    assert (data.max(axis=(0, 2, 3)) <= 255 - np.array([104, 117, 123])).all()


def old_caffemodel(path: Path, blobs: dict[str, tuple[int, int, int, int]]) -> Path:
    """Write a caffemodel like VGG's public one: layers of Caffe's first format, blobs with four axes each."""
    net = pb.NetParameter(name="VGG_ILSVRC_16_layers")
    for name, shape in blobs.items():
        kind = pb.V1LayerParameter.CONVOLUTION if name.startswith("conv") else pb.V1LayerParameter.INNER_PRODUCT
        layer = net.layers.add(name=name, type=kind)
        for axes in (shape, (1, 1, 1, shape[0] if name.startswith("conv") else shape[2])):
            blob = layer.blobs.add(num=axes[0], channels=axes[1], height=axes[2], width=axes[3])
            blob.data.extend([0.01] * math.prod(axes))
    path.write_bytes(net.SerializeToString())
    return path


def test_full_size_vgg16_trains_from_an_old_caffemodel(home: Path) -> None:
    folder = home / "prototxt/vgg16_280"
    for path in folder.glob("*.prototxt"):
        last = "snapshot_after_train: false\n" if path.name == "solver.prototxt" else ""  # 1.1 GB
        path.write_text(path.read_text().replace("batch_size: 2", "batch_size: 1") + last)
    shapes = {"conv1_2": (64, 64, 3, 3), "fc8": (1, 1, 1000, 4096)}  # all of it would be 553 MB
    model = old_caffemodel(folder / "VGG_ILSVRC_16_layers.caffemodel", shapes)
    solver = Path("prototxt/vgg16_280/solver.prototxt")
    done = train(solver, home / "vgg16", "--weights", model, "--until", 1, cwd=home)
    assert "copied 1 (conv1_2); new, left as initialised: 15 (conv1_1, " in done.stderr
    assert "fc8_280); in the file only: 1 (fc8)" in done.stderr
    run = Recording(home / "vgg16")
    assert sum(p.count for p in run.params) == 138_357_544 - (1000 - 280) * 4097
    assert [p.lr_mult for p in run.params if p.layer == "fc8_280"] == [10, 20]
    assert run.stat("weight_max")["conv1_2/0"][0] == pytest.approx(0.01)
    assert run.series("loss")[0] == pytest.approx(math.log(280), abs=3)
    gradients = run.stat("gradient_l2")
    assert all(0 < gradients[f"{p.layer}/0"][0] < 1e4 for p in run.params)
