"""Records are left out for good with --skip-records; the oracle is `caffe train` on data without them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from harness.recording import Recording
from harness.training_data.read import read_records
from tests.helpers.caffe_output import weights_of
from tests.helpers.commands import caffe_train, restart, train
from tests.helpers.lmdbs import CLASSES, RECORDS, digits, write_lmdb
from tests.helpers.nets import solver_text
from tests.helpers.outlying_records import BATCH, ONSET, OUTLYING, key_of, write_records, write_training
from tests.helpers.outlying_records import RECORDS as OUTLYING_RECORDS
from tests.helpers.preloaded import harness_command

pytestmark = pytest.mark.usefixtures("one_blas_thread")

LAST = 30
IMAGES, ROWS = 41, (5, 17)
ROWS_OUT = ((0, 0), (0, 4), (1, 16), (1, 2))
LEFT_OUT: dict[str, Any] = {"lmdb": (0, 5, 6, 100, 202), "images": (0, 3, 40), "rows": ROWS_OUT}

NET = """
layer {{ name: "data" type: "Data" top: "data" top: "label" transform_param {{ mirror: true crop_size: 9 scale: 0.01 }}
  data_param {{ source: "{home}/lmdb" batch_size: 12 backend: LMDB }} }}
layer {{ name: "listed" type: "ImageData" top: "image" top: "image_label"
  transform_param {{ mirror: true crop_size: 8 scale: 0.01 }}
  image_data_param {{ source: "{home}/images.txt" root_folder: "{images}/" batch_size: 4 }} }}
layer {{ name: "rows" type: "HDF5Data" top: "vector" top: "vector_label"
  hdf5_data_param {{ source: "{home}/rows.txt" batch_size: 7 }} }}
"""
HEAD = """
layer {{ name: "ip_{0}" type: "InnerProduct" bottom: "{0}" top: "ip_{0}"
  inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "drop_{0}" type: "Dropout" bottom: "ip_{0}" top: "ip_{0}" }}
layer {{ name: "loss_{0}" type: "SoftmaxWithLoss" bottom: "ip_{0}" bottom: "{1}" top: "loss_{0}" }}
"""


def write(home: Path, images: Path, left_out: dict[str, Any]) -> Path:
    """Write data of all kinds without the records `left_out`, and a training on them."""
    home.mkdir(exist_ok=True)
    pixels, labels = digits(RECORDS, 3)
    kept = np.setdiff1d(np.arange(RECORDS), left_out["lmdb"])
    write_lmdb(home / "all", pixels, labels) if not left_out["lmdb"] else None
    write_lmdb(home / "lmdb", pixels[kept], labels[kept])
    lines = [f"{n}.png {labels[n]}\n" for n in range(IMAGES) if n not in left_out["images"]]
    (home / "images.txt").write_text("".join(lines))
    for file, rows in enumerate(ROWS):
        here = [row for row in range(rows) if (file, row) not in left_out["rows"]]
        with h5py.File(home / f"rows{file}.h5", "w") as out:
            out["vector"] = np.random.default_rng(file).normal(size=(rows, 3))[here]
            out["vector_label"] = (np.arange(rows) % CLASSES)[here]
    (home / "rows.txt").write_text(f"{home}/rows0.h5\n{home}/rows1.h5\n")
    text = NET.format(home=home, images=images)
    text += HEAD.format("data", "label") + HEAD.format("image", "image_label") + HEAD.format("vector", "vector_label")
    (home / "net.prototxt").write_text(text)
    fields = {"iter_size": 2, "max_iter": LAST, "snapshot": 10, "test_iter": None, "test_interval": None}
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "x", **fields))
    return home / "solver.prototxt"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("pictures")
    for number, image in enumerate(digits(IMAGES, 9)[0]):
        (home / f"{number}.png").write_bytes(cv2.imencode(".png", image[0])[1].tobytes())
    return home


def test_a_training_without_records_equals_that_of_caffe_on_data_without_them(tmp_path: Path, pictures: Path) -> None:
    """All kinds of layers, with crops, mirrors and dropout, iter_size 2, over several epochs."""
    caffe_train(write(tmp_path / "less", pictures, LEFT_OUT))
    wanted = weights_of(tmp_path / f"less/x_iter_{LAST}.caffemodel")
    solver = write(tmp_path / "more", pictures, dict.fromkeys(LEFT_OUT, ()))
    keys = [f"img{number}.png" for number in LEFT_OUT["lmdb"][:2]]  # without the number of convert_imageset
    keys += [f"{number:08d}_img{number}.png" for number in LEFT_OUT["lmdb"][2:]]
    keys += [f"{number}.png" for number in LEFT_OUT["images"]]
    keys += [f"rows{file}.h5:{row}" for file, row in ROWS_OUT]
    (tmp_path / "keys.txt").write_text("\n".join(keys) + "\n")
    run = tmp_path / "run"
    train(solver, run, "--skip-records", f"@{tmp_path}/keys.txt")
    assert weights_of(run / f"snapshots/x_iter_{LAST}.caffemodel") == wanted
    # resumed, and restarted, without being told again
    train(solver, tmp_path / "resumed", "--resume", run / "snapshots/x_iter_10.solverstate")
    assert weights_of(tmp_path / f"resumed/snapshots/x_iter_{LAST}.caffemodel") == wanted
    restart(run, "--from", 0, "--out", tmp_path / "restarted")
    assert weights_of(tmp_path / f"restarted/snapshots/x_iter_{LAST}.caffemodel") == wanted
    info = json.loads((tmp_path / "restarted/run.json").read_text())
    assert info["verified"]["equal"] == info["verified"]["compared"] == LAST
    assert len(info["skip_records"]) == sum(map(len, LEFT_OUT.values()))


# -- from a snapshot on ----------------------------------------------------------------------------------------------

WORST = [key_of(number) for number in OUTLYING]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that three records of iteration 45 break, and a restart without them in `restarted`, with a window."""
    home = tmp_path_factory.mktemp("broken")
    train(write_training(home, write_records(home / "lmdb"), max_iter=80), home / "run")
    done = restart(home / "run", "--from", 40, "--skip-records", ",".join(WORST), "--watch", "40:80", cwd=home)
    assert f"Left out for good: {', '.join(WORST)}" in done.stderr
    (home / "run-skip_records-3-from-40").rename(home / "restarted")
    return home / "run"


def order_without(left_out: set[int], position: int) -> list[int]:
    """The numbers of the records from `position` on, for three epochs."""
    numbers = [number % OUTLYING_RECORDS for number in range(position, position + 3 * OUTLYING_RECORDS)]
    return [number for number in numbers if number not in left_out]


def test_a_restart_goes_on_without_the_records(broken: Path) -> None:
    """The next records follow in their place, in this epoch and in the next; training does not break."""
    restarted = broken.parent / "restarted"
    order = order_without(set(OUTLYING), 40 * BATCH)
    with Recording(restarted) as run, Recording(broken) as before:
        for iteration in range(40, 80):
            numbers = order[(iteration - 40) * BATCH :][:BATCH]
            assert [key.decode() for key in run.keys(iteration)] == [key_of(number) for number in numbers]
            again = read_records(restarted, iteration)
            assert again.inputs["data"].tobytes() == run.input(iteration, "data").tobytes()
        assert run.series("loss").max() < 1 < before.series("loss")[ONSET]
        info = json.loads((restarted / "run.json").read_text())
        assert info["skip_records"] == WORST
        assert info["parent"]["skip_records"] == WORST
        assert info["verified"]["unchanged_through"] == 40
        assert info["verified"]["first_difference"] is None


def test_it_repeats_exactly_and_its_restarts_leave_out_more(broken: Path, tmp_path: Path) -> None:
    restarted, another = broken.parent / "restarted", key_of(7)
    restart(restarted, "--from", 60, "--out", tmp_path / "same")
    restart(restarted, "--from", 60, "--skip-records", another, "--watch", "60:80", "--out", tmp_path / "more")
    with Recording(restarted) as run, Recording(tmp_path / "same") as same, Recording(tmp_path / "more") as more:
        assert np.array_equal(same.series("digest"), run.series("digest")[20:])
        read = 40 * BATCH + 20 * BATCH + len(OUTLYING)  # of the LMDB, before iteration 60
        order = order_without({*OUTLYING, 7}, read)
        keys = [key.decode() for iteration in range(60, 80) for key in more.keys(iteration)]
        assert keys == [key_of(number) for number in order[: len(keys)]]
    info = json.loads((tmp_path / "more/run.json").read_text())
    assert sorted(info["skip_records"]) == sorted([*WORST, another])
    said = harness_command("compare", restarted, tmp_path / "more").stdout
    assert "skip_records" in said
    assert another in said


def test_skip_says_when_the_records_return(broken: Path, tmp_path: Path) -> None:
    longer = ("--set", "max_iter=130", "--until", 120)
    done = restart(broken, "--from", 40, "--skip", "45:46", *longer, "--out", tmp_path / "goes on")
    match = re.search(r"have read return at iteration (\d+), in the next epoch", done.stderr)
    assert match is not None, done.stderr
    returned = int(match[1])
    read = {t: read_records(tmp_path / "goes on", t).layers[0].records for t in range(40, 120)}
    assert returned == next(t for t, records in read.items() if any(record.key == key_of(360) for record in records))


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("00000361_pic316.png", "no record of that key; the train net reads"),
        ("00000361_pic316.png", "The nearest key is 00000361_pic361.png"),
        ("pic361.pn", "The nearest key is pic361.png"),
        (",", "has no key"),
        ("@nowhere.txt", "cannot be read (No such file or directory)"),
    ],
)
def test_a_key_that_is_not_there_is_refused(broken: Path, tmp_path: Path, given: str, wanted: str) -> None:
    done = restart(broken, "--from", 40, "--skip-records", given, "--out", tmp_path / "x", code=2)
    assert wanted in " ".join(done.stderr.split())
    assert not (tmp_path / "x").exists()


def test_it_needs_exact_data_and_a_record_that_is_left(broken: Path, tmp_path: Path) -> None:
    done = restart(broken.parent / "restarted", "--from", 60, "--data", "caffe", "--out", tmp_path / "x", code=2)
    assert "the run that this one continues leaves records out, which needs --data exact" in " ".join(
        done.stderr.split()
    )
    done = restart(broken, "--from", 40, "--data", "caffe", "--skip-records", WORST[0], "--out", tmp_path / "x", code=2)
    assert "needs --data exact" in done.stderr
    (tmp_path / "keys").write_text("\n".join(map(key_of, range(OUTLYING_RECORDS))))
    done = restart(broken, "--from", 40, "--skip-records", f"@{tmp_path}/keys", "--out", tmp_path / "x", code=2)
    assert "nothing would be left of" in done.stderr
