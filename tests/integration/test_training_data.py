"""The records of any iteration are read again from the data; the oracle is what Caffe itself read, in windows."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import h5py
import lmdb
import numpy as np
import pytest

from harness.caffe_files.messages import pb
from harness.recording import Recording
from harness.training_data.confirm import confirmed_records
from harness.training_data.read import read_records
from harness.training_data.records import RecordsUnknown
from tests.helpers.commands import restart, train
from tests.helpers.data_of_all_kinds import write_list_and_rows
from tests.helpers.lmdbs import RECORDS, SIDE, digits, write_lmdb
from tests.helpers.nets import solver_text
from tests.helpers.processes import command

pytestmark = pytest.mark.usefixtures("one_blas_thread")

NAMES = ("zero", "one", "two", "three", "four")
LAST = 24
LEFT_OUT = ("00000110_img110.png", "img120.png", "3.png", "17.png", "rows0.h5:2", "rows1.h5:9", "rows1.h5:0")

# All kinds of data layers, each with another batch size; the second one draws its seed after the first.
NET = """
layer {{ name: "data" type: "Data" top: "data" top: "label" transform_param {{ mirror: true crop_size: 9 scale: 0.01
  mean_file: "{home}/mean.binaryproto" }} data_param {{ source: "{home}/train" batch_size: 6 backend: LMDB }} }}
layer {{ name: "target" type: "Data" top: "target" transform_param {{ crop_size: 11 scale: 0.1 mean_value: 7 }}
  data_param {{ source: "{home}/train" batch_size: 5 backend: LMDB }} }}
layer {{ name: "listed" type: "ImageData" top: "image" top: "image_label"
  transform_param {{ mirror: true crop_size: 8 }}
  image_data_param {{ source: "images.txt" root_folder: "images/" batch_size: 4 shuffle: true rand_skip: 9 }} }}
layer {{ name: "rows" type: "HDF5Data" top: "vector" top: "vector_label"
  hdf5_data_param {{ source: "rows.txt" batch_size: 7 shuffle: true }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
layer {{ name: "silence" type: "Silence" bottom: "target" bottom: "image" bottom: "image_label" bottom: "vector"
  bottom: "vector_label" }}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data of all kinds, and runs on them: `run`, and restarts of it."""
    home = tmp_path_factory.mktemp("training_data")
    images, labels = digits(RECORDS, 3)
    write_lmdb(home / "train", images, labels)
    mean = pb.BlobProto(num=1, channels=1, height=SIDE, width=SIDE, data=images.mean(axis=0).ravel())
    (home / "mean.binaryproto").write_bytes(mean.SerializeToString())
    (home / "classes.txt").write_text("".join(f"{label} {name}\n" for label, name in enumerate(NAMES)))
    write_list_and_rows(home, images, labels)
    (home / "net.prototxt").write_text(NET.format(home=home))
    fields = {"iter_size": 2, "max_iter": LAST, "snapshot": 8, "test_iter": None, "test_interval": None}
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "x", base_lr=1e-4, **fields))
    train(home / "solver.prototxt", home / "run", "--watch", f"0:{LAST}", cwd=home)
    without = ("--skip-records", ",".join(LEFT_OUT), "--skip", "11:13", "--watch", f"8:{LAST}")
    restart(home / "run", "--from", 8, *without, "--out", home / "skipped", cwd=home)
    return home


def blobs(recording: Recording, iteration: int) -> dict[str, np.ndarray]:
    """What the net read in `iteration`, the passes one after the other."""
    found = {}
    for name in ("data", "label", "target", "image", "image_label", "vector", "vector_label"):
        values = recording.input(iteration, name)
        found[name] = values.reshape(-1, *values.shape[2:])
    return found


@pytest.mark.parametrize(("run", "iterations"), [("run", (0, 1, 7, 16, 23)), ("skipped", (8, 10, 11, 12, 20))])
def test_the_records_are_those_that_the_net_read(home: Path, run: str, iterations: tuple[int, ...]) -> None:
    """Data, ImageData with shuffle, HDF5Data with shuffle, iter_size 2; a start from a snapshot, and data skipped."""
    with Recording(home / run) as recording:
        for iteration in iterations:
            found, wanted = read_records(home / run, iteration), blobs(recording, iteration)
            assert not found.unknown
            assert {name: values.tobytes() for name, values in found.inputs.items()} == {
                name: values.tobytes() for name, values in wanted.items()
            }, iteration
            data, target, listed, rows = found.layers
            assert [r.key.encode() for r in data.records] == recording.keys(iteration)
            for layer, label in ((data, "label"), (listed, "image_label"), (rows, "vector_label")):
                labels = wanted[label].astype(int).tolist()
                assert [record.label for record in layer.records] == labels
                assert [record.class_name for record in layer.records] == [NAMES[label] for label in labels]
            assert {record.label for record in target.records} == {None}


def test_records_that_are_left_out_shift_the_stream(home: Path) -> None:
    """The order stays that of the run before, shuffled ones as well; another gap of two iterations is in it."""
    before = [read_records(home / "run", iteration) for iteration in range(8, LAST)]
    after = [read_records(home / "skipped", iteration) for iteration in range(8, LAST)]
    for number in range(4):
        old, new = ([r.key for each in runs for r in each.layers[number].records] for runs in (before, after))
        kept = [key for key in old if not set(LEFT_OUT) & {key, key[9:]}]
        batch = len(new) // len(after)
        wanted = kept[: 3 * batch] + kept[5 * batch :]
        assert new[: len(wanted)] == wanted
        assert len(kept) < len(old)


def test_crops_and_mirrors_are_told(home: Path) -> None:
    """The part of the image that the record says is what the net read."""
    images, _ = digits(RECORDS, 3)
    target = read_records(home / "run", 5).layers[1]
    for record in target.records:
        assert record.crop is not None
        assert not record.mirrored
        (top, left), number = record.crop, int(record.key[:8])
        part = images[number][:, top : top + 11, left : left + 11].astype(np.float32) - np.float32(7)
        assert np.array_equal(record.values, part * np.float32(0.1))
    listed = read_records(home / "run", 5).layers[2]
    assert {record.mirrored for record in listed.records} == {False, True}
    for record in listed.records:
        assert record.crop is not None
        (top, left), number = record.crop, int(record.key.removesuffix(".png"))
        part = images[number][0, top : top + 8, left : left + 8]
        assert np.array_equal(record.values[0], part[:, ::-1] if record.mirrored else part)


def test_rows_are_named_by_file_and_row(home: Path) -> None:
    for record in read_records(home / "run", 3).layers[3].records:
        name, row = record.key.split(":")
        with h5py.File(home / name) as file:
            assert np.array_equal(record.values, file["vector"][int(row)].astype(np.float32))


def test_caffe_is_not_needed(home: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from harness.training_data.read import read_records
print(len(read_records(Path({str(home / "run")!r}), 3).layers), "caffe" in sys.modules)
"""
    done = command(sys.executable, "-c", code)
    assert done.stdout.split() == ["4", "False"], done.stderr


def test_data_that_are_gone_or_changed_are_not_shown(home: Path, tmp_path: Path) -> None:
    """Each layer is read, or a sentence says why it is not."""
    here = tmp_path / "copy"
    shutil.copytree(home / "run", here, ignore=shutil.ignore_patterns("recording.h5"))
    info = (here / "run.json").read_text()
    for name in ("train", "images.txt", "images", "rows.txt", "rows0.h5", "rows1.h5", "mean.binaryproto"):
        copy = shutil.copytree if (home / name).is_dir() else shutil.copy2
        copy(home / name, tmp_path / name)
    (here / "run.json").write_text(info.replace(str(home), str(tmp_path)))
    assert not read_records(here, 3).unknown

    (tmp_path / "images.txt").write_text((home / "images.txt").read_text() + "7.png 0\n")
    (tmp_path / "rows.txt").unlink()
    mean = bytearray((tmp_path / "mean.binaryproto").read_bytes())
    mean[-1] ^= 1
    (tmp_path / "mean.binaryproto").write_bytes(mean)
    changed = read_records(here, 3)
    assert [layer.layer for layer in changed.layers] == ["target"]
    mean_changed, rows_gone = changed.unknown[0], changed.unknown[-1]
    assert mean_changed == (
        f"{tmp_path}/train or its mean_file has changed since the run: its records are no longer those that it read."
    )
    assert rows_gone == f"{tmp_path}/rows.txt, which layer rows read, is no longer there."

    shutil.rmtree(tmp_path / "train")
    images, labels = digits(RECORDS, 3)
    images[17, 0, 3, 3] ^= 1
    write_lmdb(tmp_path / "train", images, labels)
    (tmp_path / "images.txt").unlink()
    with pytest.raises(RecordsUnknown, match="has changed since the run") as refusal:
        read_records(here, 3)
    assert "images.txt, which layer listed read, is no longer there." in str(refusal.value)
    with pytest.raises(RecordsUnknown, match="Iteration 24 is not of this run, which has iterations 0 to 23"):
        read_records(here, LAST)


def test_images_of_several_sizes_are_shown_though_a_window_has_those_of_one(tmp_path: Path) -> None:
    """A window keeps the inputs in the shape of the first batch; the statistics tell the others."""
    images, _ = digits(3, 3)
    with lmdb.open(str(tmp_path / "data"), map_size=1 << 20) as environment, environment.begin(write=True) as writing:
        for number, image in enumerate((images[0], images[1][:, 2:], images[2][:, :, 3:])):
            _, height, width = image.shape
            datum = pb.Datum(channels=1, height=height, width=width, data=image.tobytes(), label=number)
            writing.put(f"{number}".encode(), datum.SerializeToString())
    net = f"""layer {{ name: "data" type: "Data" top: "data" top: "label"
  data_param {{ source: "{tmp_path}/data" batch_size: 1 backend: LMDB }} }}
layer {{ name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param {{ pool: AVE global_pooling: true }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "pool" top: "ip" inner_product_param {{ num_output: 3 }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}"""
    (tmp_path / "net.prototxt").write_text(net)
    fields = {"max_iter": 6, "base_lr": 1e-4, "test_iter": None, "test_interval": None}
    (tmp_path / "solver.prototxt").write_text(solver_text(tmp_path / "net.prototxt", tmp_path / "x", **fields))
    train(tmp_path / "solver.prototxt", tmp_path / "run", "--watch", "3:6")
    with Recording(tmp_path / "run") as recording:
        for iteration in range(6):
            (layer,) = confirmed_records(recording, iteration).layers
            assert [record.key for record in layer.records] == [f"{iteration % 3}"]
