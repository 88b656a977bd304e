"""HDF5Data layers are reproduced: the order of their rows, their values, and training that resumes with them.

The oracles are Caffe's own HDF5Data layer and `caffe train` without interruption.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import caffe
import h5py
import numpy as np
import pytest
from google.protobuf import text_format

from harness.caffe_files.hdf5_list import check_tops, open_hdf5_list
from harness.caffe_files.messages import pb
from harness.errors import BadInput
from harness.prefetch.positions import moved, with_orders
from harness.recording import Recording
from harness.schemas.data_position import GeneratorState, RowsPosition, TrainingPosition
from harness.schemas.stream import RowsStream
from harness.worker.seekable_nets import replace_data_layers
from harness.worker.seekable_rows import restore_random
from tests.helpers.caffe_output import said_from, weights_of
from tests.helpers.commands import caffe_train, restart, train
from tests.helpers.lmdbs import CLASSES, RECORDS, digits
from tests.helpers.nets import solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")

LAST = 24
SIZES = (5, 17, 8)  # rows of the files: batches span two and three of them


def write_files(home: Path, name: str, sizes: tuple[int, ...], seed: int) -> Path:
    """Write files with the datasets data (n, 3, 2), vector (n,), label (n,) and number (n,), and their list."""
    home.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    names = []
    for file, rows in enumerate(sizes):
        names.append(home / f"{name}{file}.h5")
        with h5py.File(names[-1], "w") as out:
            out["data"] = random.normal(size=(rows, 3, 2))  # float64, which HDF5 converts
            out["vector"] = random.integers(0, 200, rows).astype(np.uint8)
            out["label"] = random.integers(0, CLASSES, rows).astype(np.int64)
            out["number"] = (1000 * file + np.arange(rows)).astype(np.float32)
    path = home / f"{name}.txt"
    path.write_text("\n".join(map(str, names)))
    return path


def layer(source: Path, phase: str, batch: int, shuffle: bool, tops: tuple[str, ...] = ("data", "label")) -> str:
    made = " ".join(f'top: "{top}"' for top in tops)
    return f"""layer {{ name: "data" type: "HDF5Data" {made} include {{ phase: {phase} }}
      hdf5_data_param {{ source: "{source}" batch_size: {batch} shuffle: {str(shuffle).lower()} }} }}
"""


# -- the layer by itself ----------------------------------------------------------------------------------------------

# Two nets, each with two layers, take batches in turn in a new process, as its rand() is in its first state. It writes
# the batches of the tops number and vector.
NATIVE = """
import sys
import caffe
import numpy as np
train, test, turns = caffe.Net(sys.argv[1], caffe.TRAIN), caffe.Net(sys.argv[2], caffe.TEST), eval(sys.argv[3])
found = []
for number, passes in turns:
    for _ in range(passes):
        net = (train, test)[number]
        net.forward()
        found.append(np.concatenate([net.blobs[top].data.ravel() for top in ("number", "vector", "again")]))
np.save(sys.argv[4], np.concatenate(found))
"""


def two_layers(home: Path, sizes: tuple[int, ...], batch: int, shuffle: tuple[bool, bool]) -> str:
    """A net of two layers on the same files; the second has another batch size."""
    source = write_files(home, f"rows{len(sizes)}", sizes, 1)
    second = write_files(home, "again", (7, 6), 2).read_text().split()
    for path in second:
        with h5py.File(path, "a") as file:
            file["again"] = file["number"][:] + 1
    first = layer(source, "TRAIN", batch, shuffle[0], ("number", "vector"))
    other = layer(home / "again.txt", "TRAIN", batch + 3, shuffle[1], ("again",))
    return (first + other).replace("include { phase: TRAIN }", "")


def rows_of(text: str, net: int) -> list[RowsPosition]:
    found = []
    for index, each in enumerate(text_format.Parse(text, pb.NetParameter()).layer):
        param = each.hdf5_data_param
        files = open_hdf5_list(Path(param.source), "net")
        found.append(RowsPosition(net, index, each.name, param.source, files.fingerprint, param.batch_size,
                                  files.rows(each.top[0]), param.shuffle))  # fmt: skip
    return found


def seekable(path: Path, text: str, net: int, point: TrainingPosition) -> caffe.Net:
    param = text_format.Parse(text, pb.NetParameter())
    streams = {}
    for place in point.rows:
        if place.net == net:
            tops = tuple(param.layer[place.index].top)
            streams[place.index] = RowsStream(place, open_hdf5_list(Path(place.source), "net").names, tops)
    path.write_text(text_format.MessageToString(replace_data_layers(param, streams)))
    return caffe.Net(str(path), caffe.TEST if net else caffe.TRAIN)


@pytest.mark.parametrize("shuffle", [(False, False), (True, False), (True, True)], ids=str)
@pytest.mark.parametrize("sizes", [SIZES, (9,)], ids=str)
def test_rows_equal_those_of_caffes_own_layers(
    tmp_path: Path, sizes: tuple[int, ...], shuffle: tuple[bool, bool]
) -> None:
    """All layers of a process draw from one generator, in the order in which they come to the end of a file."""
    texts = [two_layers(tmp_path / f"net{n}", sizes, batch, shuffle) for n, batch in enumerate((6, 4))]
    paths = [tmp_path / f"net{n}.prototxt" for n in (0, 1)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    before, after = [(1, 2), (0, 7), (1, 2), (0, 4)], [(0, 5), (1, 3), (0, 9)]
    command = [sys.executable, "-c", NATIVE, *map(str, paths), repr(before + after), str(tmp_path / "native.npy")]
    subprocess.run(command, check=True, capture_output=True)
    start = TrainingPosition(0, 1, GeneratorState(0), (), tuple(rows_of(texts[0], 0) + rows_of(texts[1], 1)))
    point = moved(start, before)
    assert moved(with_orders(start), before) == point
    restore_random(point.rand)
    nets = [seekable(tmp_path / f"seekable{n}.prototxt", texts[n], n, point) for n in (0, 1)]
    found = []
    for net, passes in after:
        for _ in range(passes):
            nets[net].forward()
            found.append(np.concatenate([nets[net].blobs[top].data.ravel() for top in ("number", "vector", "again")]))
    wanted = np.load(tmp_path / "native.npy")[-len(np.concatenate(found)) :]
    assert np.array_equal(np.concatenate(found), wanted)
    assert len(set(wanted)) > 20


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("at", [0, 4])
def test_rows_are_left_out(tmp_path: Path, shuffle: bool, at: int) -> None:
    source = write_files(tmp_path, "rows", SIZES, 1)
    text = layer(source, "TRAIN", 6, shuffle, ("number",))
    start = with_orders(TrainingPosition(0, 1, GeneratorState(0), (), tuple(rows_of(text, 0))))
    gap = replace(start, rows=tuple(replace(place, skip_at=at, skip=9) for place in start.rows))

    def numbers(point: TrainingPosition, count: int) -> list[np.ndarray]:
        restore_random(point.rand)
        net = seekable(tmp_path / "net.prototxt", text, 0, point)
        return [net.forward()["number"].copy() for _ in range(count)]

    whole = numbers(start, 30)
    wanted = whole[:at] + whole[at + 9 :]
    assert np.array_equal(numbers(gap, 21), wanted)
    for passed in (3, 4, 12):  # and so do the positions on the way
        assert np.array_equal(numbers(moved(gap, [(0, passed)]), 21 - passed), wanted[passed:])


# -- trainings --------------------------------------------------------------------------------------------------------

NET = """
layer { name: "drop" type: "Dropout" bottom: "data" top: "data" dropout_param { dropout_ratio: 0.2 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def write_solver(home: Path, net: str, **fields: object) -> Path:
    (home / "net.prototxt").write_text(net)
    values: dict[str, Any] = {"max_iter": LAST, "snapshot": 8, "display": 1, "test_iter": 2, "test_interval": 5}
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "native", **values | fields))
    return home / "solver.prototxt"


def paired(home: Path, data: Path, shuffle: bool) -> str:
    """As in LRCN: images from an LMDB and their labels from an HDF5 file (not shuffled, which would part them)."""
    (home / "labels").mkdir()
    with h5py.File(home / "labels/labels.h5", "w") as file:
        file["label"] = digits(RECORDS, 1)[1]
    (home / "labels.txt").write_text(str(home / "labels/labels.h5"))
    images = f"""layer {{ name: "images" type: "Data" top: "data" include {{ phase: TRAIN }}
      transform_param {{ scale: 0.01 mirror: true }}
      data_param {{ source: "{data}/train" batch_size: 6 backend: LMDB }} }}
"""
    tests = f"""layer {{ name: "images" type: "Data" top: "data" top: "label" include {{ phase: TEST }}
      transform_param {{ scale: 0.01 }} data_param {{ source: "{data}/test" batch_size: 6 backend: LMDB }} }}
"""
    return images + layer(home / "labels.txt", "TRAIN", 6, shuffle, ("label",)) + tests + NET


def rows(home: Path, data: Path, shuffle: bool) -> str:
    """Train and test net each with a layer of its own, of several files and of one."""
    write_files(home / "files", "train", SIZES, 1)
    write_files(home / "files", "test", (23,), 2)
    return (
        layer(home / "files/train.txt", "TRAIN", 7, shuffle) + layer(home / "files/test.txt", "TEST", 9, shuffle) + NET
    )


@pytest.mark.parametrize(
    ("net", "shuffle", "fields"),
    [(paired, False, {}), (rows, True, {"iter_size": 2}), (rows, False, {})],
    ids=["images and labels", "shuffled", "as written"],
)
def test_resumes_and_restarts_are_exact(
    tmp_path: Path, digit_data: Path, net: Any, shuffle: bool, fields: dict[str, object]
) -> None:
    solver = write_solver(tmp_path, net(tmp_path, digit_data, shuffle), **fields)
    native = caffe_train(solver)
    name = f"native_iter_{LAST}.caffemodel"
    expected = weights_of(tmp_path / name)
    train(solver, tmp_path / "run", "--watch", "10:14")
    assert weights_of(tmp_path / "run/snapshots" / name) == expected
    train(solver, tmp_path / "caffes", "--resume", tmp_path / "native_iter_8.solverstate", "--snapshot-every", 3)
    # a resumed run's snapshot, a snapshot of the first run, and a window
    train(solver, tmp_path / "again", "--resume", tmp_path / "caffes/snapshots/native_iter_15.solverstate")
    restart(tmp_path / "run", "--from", 16, "--out", tmp_path / "snapshot")
    restart(tmp_path / "run", "--from", 12, "--out", tmp_path / "window")
    for run, first in {"caffes": 8, "again": 15, "snapshot": 16, "window": 12}.items():
        told = json.loads((tmp_path / run / "run.json").read_text())
        assert told["not_exact"] == [], run
        assert weights_of(tmp_path / run / "snapshots" / name) == expected, run
        assert said_from((tmp_path / run / "solver.log").read_text(), first) == said_from(native, first), run


def test_data_can_be_skipped_and_changed_files_are_refused(tmp_path: Path, digit_data: Path) -> None:
    net = rows(tmp_path, digit_data, True).replace("batch_size: 9 shuffle: true", "batch_size: 9")
    solver = write_solver(tmp_path, net)  # a shuffled test net would draw in between
    train(solver, tmp_path / "run", "--watch", "15:16")
    restart(tmp_path / "run", "--from", 8, "--skip", "10:13", "--watch", "12:13", "--out", tmp_path / "skipped")
    with Recording(tmp_path / "run") as run, Recording(tmp_path / "skipped") as skipped:
        assert np.array_equal(run.input(15, "label"), skipped.input(12, "label"))
    with h5py.File(tmp_path / "files/train1.h5", "a") as file:
        file["label"][3] += 1
    done = restart(tmp_path / "run", "--from", 8, "--out", tmp_path / "refused", code=2)
    assert "the HDF5 files have changed since the snapshot was made" in " ".join(done.stderr.split())


def test_a_snapshot_without_rows_starts_all_inputs_together(tmp_path: Path, digit_data: Path) -> None:
    """Before 0.3.0, snapshots did not hold the position of HDF5Data layers."""
    solver = write_solver(tmp_path, paired(tmp_path, digit_data, False))
    train(solver, tmp_path / "run", "--until", 8)
    about = tmp_path / "run/snapshots/native_iter_8.json"
    told = json.loads(about.read_text())
    del told["digest"], told["point"]["rows"], told["point"]["rand"]
    about.write_text(json.dumps(told))
    state = about.with_suffix(".solverstate")
    done = train(solver, tmp_path / "again", "--resume", state, "--until", 9, "--watch", "8:9")
    said = "layer data has no position in the training that goes on: it starts at its first record; so do all inputs of"
    assert said in " ".join(done.stderr.split())
    images, labels = digits(RECORDS, 1)
    with Recording(tmp_path / "again") as again:
        assert np.array_equal(again.input(8, "label"), labels[:6])
        for image, given in zip(images[:6] * np.float32(0.01), again.input(8, "data"), strict=True):
            assert np.array_equal(given, image) or np.array_equal(given, image[:, :, ::-1])


# -- bad input --------------------------------------------------------------------------------------------------------


def test_bad_files_are_named(tmp_path: Path) -> None:
    source = write_files(tmp_path, "rows", SIZES, 1)
    with h5py.File(tmp_path / "rows1.h5", "a") as file:
        del file["label"]
        file["label"] = np.zeros(4)
        file["text"] = ["a"] * 17
        file["nowhere"] = h5py.SoftLink("/gone")
    files = open_hdf5_list(source, "net")
    check_tops(files, ["data", "vector"], "net")
    for tops, message in (
        (("data", "label"), "17 (data), 4 (label) rows"),
        (("text",), "no data set of that name"),
    ):
        with pytest.raises(BadInput, match=message.replace("(", r"\(").replace(")", r"\)")):
            check_tops(files, tops, "net")
    (tmp_path / "rows2.h5").write_bytes(b"nothing")
    with pytest.raises(BadInput, match="not an HDF5 file"):
        open_hdf5_list(source, "net")
    (tmp_path / "rows2.h5").unlink()
    with pytest.raises(BadInput, match=r"rows2\.h5"):
        open_hdf5_list(source, "net")
    source.write_text("\n")
    with pytest.raises(BadInput, match="an empty list"):
        open_hdf5_list(source, "net")
