"""Resuming is exact: a resumed training ends with the bits of the uninterrupted one.

The oracle is `caffe train` without interruption: its weights at the end, its words, its test passes.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import pytest

from harness.caffe_files.messages import pb
from harness.recording import Recording
from tests.helpers.caffe_output import said_from, weights_of
from tests.helpers.commands import caffe_train, train
from tests.helpers.nets import data_layer, small_net, solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")

LAST = 24
TESTS = {"test_iter": 3, "test_interval": 5}  # several passes in between, none of them at a resume point


def encoded(source: Path, target: Path) -> None:
    """A copy of an LMDB with every image encoded: colour JPEG and PNG in turn."""
    with lmdb.open(str(source), readonly=True) as environment, environment.begin() as reader:
        records = [(bytes(key), pb.Datum.FromString(value)) for key, value in reader.cursor()]
    with lmdb.open(str(target), map_size=1 << 26) as environment, environment.begin(write=True) as writer:
        for number, (key, datum) in enumerate(records):
            image = np.frombuffer(datum.data, np.uint8).reshape(datum.height, datum.width)
            colour = np.stack([image, image[::-1], 255 - image], axis=-1)
            data = cv2.imencode(".jpg" if number % 2 else ".png", colour)[1].tobytes()
            writer.put(key, pb.Datum(data=data, label=datum.label, encoded=True).SerializeToString())


@pytest.fixture(scope="module")
def encoded_data(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    home = tmp_path_factory.mktemp("encoded")
    for name in ("train", "test"):
        encoded(digit_data / name, home / name)
    return home


# What varies: the net's transform, its encoding, the solver. 40 records and more: LAST iterations wrap around.
CASES: dict[str, dict[str, Any]] = {
    "mirror, crop, dropout": {},
    "no random numbers but dropout": {"transform": "", "solver": {"type": '"Nesterov"'}},
    "mirror, iter_size": {"transform": "mirror: true", "solver": {"iter_size": 2, "clip_gradients": 0.5}},
    "encoded, crop": {"encoded": True, "transform": "crop_size: 9 mean_value: 100 mean_value: 110 mean_value: 90"},
    "encoded, grey, mirror, Adam": {
        "encoded": True,
        "transform": "mirror: true crop_size: 11 force_gray: true",
        "solver": {"type": '"Adam"', "base_lr": 0.002, "momentum2": 0.99, "lr_policy": '"multistep"', "gamma": 0.1,
                   "stepvalue": 7},
    },
    "batch that wraps, iter_size, Nesterov": {"batch": 13, "solver": {"iter_size": 3, "type": '"Nesterov"'}},
    "no tests, L1": {"solver": {"test_iter": None, "test_interval": None, "regularization_type": '"L1"'}},
    "mirrored tests, two test nets": {
        "mirror_tests": True, "solver": {"test_iter": "2\ntest_iter: 1", "test_state": "{ }\ntest_state: { }"},
    },
    "random labels and a second data layer": {
        "extra": """layer { name: "noise" type: "DummyData" top: "noise" dummy_data_param {
  shape { dim: 8 dim: 3 } data_filler { type: "gaussian" std: 1 } } }
layer { name: "noisy" type: "InnerProduct" bottom: "noise" top: "noisy"
  inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "again" type: "Data" top: "again" include { phase: TRAIN } transform_param { mirror: true crop_size: 5 }
  data_param { source: "SOURCE" batch_size: 8 backend: LMDB } }
layer { name: "quiet" type: "Reduction" bottom: "again" top: "quiet" include { phase: TRAIN } loss_weight: 0
  reduction_param { operation: MEAN } }
layer { name: "more" type: "EuclideanLoss" bottom: "noisy" bottom: "noisy2" top: "more" loss_weight: 0.1 }
""",
    },
}  # fmt: skip


def write_case(home: Path, data: Path, case: dict[str, Any], prefix: str = "native", **fields: object) -> Path:
    """`home/solver.prototxt` for a case; its snapshots are called `home/prefix…`."""
    extra = case.get("extra", "").replace("SOURCE", str(data / "train"))
    extra = extra.replace(
        'layer { name: "more"',
        'layer { name: "noise2" type: "DummyData" top: "noisy2" dummy_data_param { shape { dim: 8 dim: 2 } '
        'data_filler { type: "uniform" min: -1 max: 1 } } }\nlayer { name: "more"',
    )
    transform = case.get("transform", "mirror: true crop_size: 10")
    text = small_net(data, batch=case.get("batch", 8), transform=transform, extra=extra)
    if case.get("mirror_tests"):
        text = text.replace(data_layer(data / "test", "TEST", 7, transform.replace("mirror: true", "")),
                            data_layer(data / "test", "TEST", 7, transform))  # fmt: skip
    (home / "net.prototxt").write_text(text)
    values = TESTS | {"max_iter": LAST, "snapshot": 1, "display": 1} | case.get("solver", {}) | fields
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / prefix, **values))
    return home / "solver.prototxt"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_snapshot_of_caffe_train_resumes_exactly(
    tmp_path: Path, digit_data: Path, encoded_data: Path, case: dict[str, Any]
) -> None:
    data = encoded_data if case.get("encoded") else digit_data
    solver = write_case(tmp_path, data, case)
    native = caffe_train(solver)
    expected = weights_of(tmp_path / f"native_iter_{LAST}.caffemodel")
    # test passes lie before and behind the one, one iteration behind the other; test_many_resumes.py has all others
    for iteration in (LAST // 3, LAST - 1):
        out = tmp_path / f"from{iteration}"
        state = tmp_path / f"native_iter_{iteration}.solverstate"
        done = train(solver, out, "--resume", state)
        assert "Resuming at iteration" in done.stderr
        assert weights_of(out / f"snapshots/native_iter_{LAST}.caffemodel") == expected
        assert said_from((out / "solver.log").read_text(), iteration) == said_from(native, iteration)


def test_resumes_of_resumes_repeat_the_run(tmp_path: Path, digit_data: Path) -> None:
    """The JSON of a snapshot has the data position, whatever came before."""
    solver = write_case(tmp_path, digit_data, CASES["mirror, iter_size"], snapshot=7, max_iter=40)
    train(solver, tmp_path / "whole")
    at = 0
    for number, until in enumerate((7, 16, 17, 31, 40)):
        start = ("--resume", tmp_path / f"part{number - 1}/snapshots/native_iter_{at}.solverstate") if number else ()
        train(solver, tmp_path / f"part{number}", *start, "--until", until)
        at = until
    with Recording(tmp_path / "whole") as whole:
        digests, losses = whole.series("digest"), whole.series("loss")
        tests = whole.test("loss3/loss3")
    parts = [Recording(tmp_path / f"part{n}") for n in range(5)]
    assert np.array_equal(np.concatenate([p.series("digest") for p in parts]), digests)
    assert np.array_equal(np.concatenate([p.series("loss") for p in parts]), losses)
    assert np.array_equal(np.concatenate([p.test("loss3/loss3")[1] for p in parts]), tests[1])
    for number in range(1, 5):  # the state of the generator is restored: nothing is drawn again
        assert json.loads((tmp_path / f"part{number}/run.json").read_text())["replayed"]["iterations"] == 0
    name = "snapshots/native_iter_40.json"
    ends = [json.loads((tmp_path / run / name).read_text()) for run in ("whole", "part4")]
    for end in ends:
        for place in end["point"]["places"]:
            del place["seed"]  # which only a resumed run needs to find out
    assert len(ends[0]["point"]["generator"]["words"]) == 8 * 624  # in hex
    assert ends[0]["point"] == ends[1]["point"]
    assert ends[0]["weight_digest"] == ends[1]["weight_digest"]


def test_an_hdf5_snapshot_resumes_exactly(tmp_path: Path, digit_data: Path) -> None:
    """Caffe's own restore reads no weights from HDF5; the oracle is the uninterrupted run."""
    solver = write_case(tmp_path, digit_data, {}, snapshot=10, snapshot_format="HDF5")
    net = tmp_path / "net.prototxt"
    net.write_text(re.sub(r"(conv\d|loss\d)/", r"\1", net.read_text()))
    train(solver, tmp_path / "run")
    state = tmp_path / "run/snapshots/native_iter_10.solverstate.h5"
    train(solver, tmp_path / "again", "--resume", state)
    with Recording(tmp_path / "run") as run, Recording(tmp_path / "again") as again:
        assert np.array_equal(run.series("digest")[10:], again.series("digest"))


def test_a_swapped_caffemodel_is_refused(tmp_path: Path, digit_data: Path) -> None:
    solver = write_case(tmp_path, digit_data, {}, snapshot=10)
    train(solver, tmp_path / "run")
    snapshots = tmp_path / "run/snapshots"
    shutil.copy(snapshots / "native_iter_10.caffemodel", snapshots / "native_iter_20.caffemodel")
    done = train(solver, tmp_path / "b", "--resume", snapshots / "native_iter_20.solverstate", code=2)
    assert "weight_digest" in done.stderr


def test_a_moved_lmdb_and_a_layer_with_its_own_phase_resume(tmp_path: Path, digit_data: Path) -> None:
    """A Data layer with the phase TEST crops in the middle; its records are recognized by their fingerprint."""
    solver = write_case(tmp_path, digit_data, {}, snapshot=10)
    net = tmp_path / "net.prototxt"
    net.write_text(
        net.read_text().replace(
            'top: "label" include { phase: TRAIN }', 'top: "label" phase: TEST include { phase: TRAIN }'
        )
    )
    train(solver, tmp_path / "run")
    shutil.copytree(digit_data / "train", tmp_path / "elsewhere")
    net.write_text(net.read_text().replace(str(digit_data / "train"), str(tmp_path / "elsewhere")))
    state = tmp_path / "run/snapshots/native_iter_10.solverstate"
    done = train(solver, tmp_path / "again", "--resume", state)
    assert "Not exact" not in done.stderr
    with Recording(tmp_path / "run") as run, Recording(tmp_path / "again") as again:
        assert np.array_equal(run.series("digest")[10:], again.series("digest"))


def test_reasons_for_inexactness_are_named(tmp_path: Path, digit_data: Path) -> None:
    solver = write_case(tmp_path, digit_data, {}, snapshot=10)
    train(solver, tmp_path / "run")
    about = tmp_path / "run/snapshots/native_iter_10.json"
    state = about.with_suffix(".solverstate")
    for seed, named in ((7, "seed 7 instead of 11"), (11, None)):
        done = train(solver, tmp_path / f"seed{seed}", "--resume", state, "--seed", seed)
        assert (named in done.stderr) if named else ("Not exact" not in done.stderr)
    facts = json.loads(about.read_text())
    about.write_text(json.dumps(facts | {"caffe": {"version": "other"}, "digest": None}))
    done = train(solver, tmp_path / "build", "--resume", state, "--until", 11)
    assert "Not exact: another build of Caffe" in done.stderr
    about.write_text("{")
    done = train(solver, tmp_path / "damaged", "--resume", state, code=2)
    assert str(about) in done.stderr


def test_a_moved_run_directory_resumes(tmp_path: Path, digit_data: Path) -> None:
    solver = write_case(tmp_path, digit_data, {}, snapshot=10)
    train(solver, tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "moved")
    state = tmp_path / "moved/snapshots/native_iter_10.solverstate"
    train(solver, tmp_path / "again", "--resume", state)
    name = f"snapshots/native_iter_{LAST}.caffemodel"
    assert weights_of(tmp_path / "again" / name) == weights_of(tmp_path / "moved" / name)


def test_the_keys_of_a_resumed_window_equal_those_of_the_first_run(tmp_path: Path, digit_data: Path) -> None:
    solver = write_case(tmp_path, digit_data, CASES["batch that wraps, iter_size, Nesterov"], snapshot=10)
    train(solver, tmp_path / "one", "--watch", "12:15")
    state = tmp_path / "one/snapshots/native_iter_10.solverstate"
    train(solver, tmp_path / "two", "--resume", state, "--watch", "12:15")
    with Recording(tmp_path / "one") as one, Recording(tmp_path / "two") as two:
        for t in (12, 13, 14):
            assert one.keys(t) == two.keys(t)
            assert len(set(one.keys(t))) > 1
            assert np.array_equal(one.input(t, "data"), two.input(t, "data"))


def test_without_a_seed_only_the_images_are_exact(tmp_path: Path, digit_data: Path) -> None:
    solver = write_case(tmp_path, digit_data, {}, random_seed=None)
    caffe_train(solver)
    state = tmp_path / "native_iter_8.solverstate"
    done = train(solver, tmp_path / "run", "--resume", state, "--watch", "9:11")
    assert "Not exact: the solver has no random_seed" in done.stderr
    facts = json.loads((tmp_path / "run/run.json").read_text())
    assert len(facts["not_exact"]) == 1
    with Recording(tmp_path / "run") as run, lmdb.open(str(digit_data / "train"), readonly=True) as data:
        with data.begin() as transaction:
            keys = [bytes(key) for key in transaction.cursor().iternext(values=False)]
        assert run.keys(9) == [keys[n % len(keys)] for n in range(9 * 8, 10 * 8)]


def test_data_caffe_continues_as_caffe_does_and_can_be_resumed(tmp_path: Path, digit_data: Path) -> None:
    solver = write_case(tmp_path, digit_data, {}, snapshot=6)
    caffe_train(solver)
    state = tmp_path / "native_iter_6.solverstate"
    done = train(solver, tmp_path / "caffes", "--resume", state, "--data", "caffe")
    assert "position in the data" in done.stderr.replace("\n", " ")
    state = tmp_path / "caffes/snapshots/native_iter_18.solverstate"
    train(solver, tmp_path / "exact", "--resume", state)
    name = f"snapshots/native_iter_{LAST}.caffemodel"
    assert weights_of(tmp_path / "exact" / name) == weights_of(tmp_path / "caffes" / name)
    assert weights_of(tmp_path / "exact" / name) != weights_of(tmp_path / f"native_iter_{LAST}.caffemodel")


# -- snapshots of a training that Caffe itself resumed -----------------------------------------------------------------


@pytest.fixture(scope="module")
def two_stages(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    """BVLC's two-stage recipe in small: 9 iterations, then a second solver with a lower rate from their snapshot.

    glog keeps the logs in `logs`.
    """
    home = tmp_path_factory.mktemp("stages")
    (home / "logs").mkdir()
    (home / "glog").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOG_log_dir", str(home / "logs"))
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        caffe_train(write_case(home, digit_data, {}, snapshot=9, max_iter=9))
        second = write_case(home, digit_data, {}, snapshot=4, lr_policy='"fixed"', base_lr=0.002)
        caffe_train(second, f"--snapshot={home}/native_iter_9.solverstate")
    return second


def test_a_snapshot_of_a_second_stage_resumes_exactly(
    two_stages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data and random numbers began anew at iteration 9, which the user says, or the log, or nobody."""
    home = two_stages.parent
    state = home / "native_iter_16.solverstate"
    expected = weights_of(home / f"native_iter_{LAST}.caffemodel")
    name = f"snapshots/native_iter_{LAST}.caffemodel"
    for logs, options, equal, said in (
        ("glog", ("--native-start", 9), True, "if caffe train was last resumed at iteration 9, as --native-start says"),
        ("logs", (), True, "says that caffe train was resumed at iteration 9: data and random numbers began there"),
        ("glog", (), False, "which cannot be known from the snapshot (if it was resumed, give --native-start N, which "
                            "the snapshots beside it suggest, for example --native-start 9)"),
    ):  # fmt: skip
        monkeypatch.setenv("GLOG_log_dir", str(home / logs))
        out = tmp_path / f"{logs}{len(options)}"
        done = train(two_stages, out, "--resume", state, *options)
        assert (weights_of(out / name) == expected) is equal
        assert said in done.stderr
    assert json.loads((tmp_path / "logs0/run.json").read_text())["native_start"]["iteration"] == 9


def test_a_native_start_that_cannot_be_is_refused(two_stages: Path, tmp_path: Path) -> None:
    home = two_stages.parent
    state = home / "native_iter_16.solverstate"
    for options in (
        ("--resume", state, "--native-start", 17),
        ("--resume", state, "--native-start", -1),
        ("--resume", state, "--native-start", 9, "--data", "caffe"),
        ("--native-start", 9),
    ):
        done = train(two_stages, tmp_path / "refused", *options, code=2)
        assert "--native-start" in done.stderr
    train(two_stages, tmp_path / "ours", "--until", 2)
    ours = tmp_path / "ours/snapshots/native_iter_2.solverstate"
    done = train(two_stages, tmp_path / "refused", "--resume", ours, "--native-start", 1, code=2)
    assert "the JSON beside this one states its position" in done.stderr
