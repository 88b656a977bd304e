"""Arms of nets that read data of all kinds: what they read, byte for byte, and controls from all kinds of starts."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from harness.caffe_files.messages import parse_text, pb
from harness.errors import BadInput
from harness.experiments.batch_store import LIMIT, BatchStore
from harness.recording import Recording
from harness.recording.run_directory import read_info
from harness.schemas.arm import Arm, LayerRedrawn, Place, RecordsReplaced, Replacement, StreamShifted
from harness.schemas.feed import StoredBatch
from harness.training_data.batches import first_batches, train_batches
from harness.training_data.read import read_records
from harness.training_data.records import RecordsUnknown
from harness.training_data.run_data import RunData
from harness.training_data.same_records import with_records_of
from tests.helpers.arms import recorded_digests, replay_all
from tests.helpers.commands import restart, train
from tests.helpers.data_of_all_kinds import write_list_and_rows
from tests.helpers.lmdbs import CLASSES, RECORDS, digits, write_lmdb
from tests.helpers.nets import data_layer, solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")

LAST, SNAPSHOT, PASSES = 20, 8, 2

# Three kinds of data layers; a hidden state that goes on from batch to batch; random targets and Dropout.
NET = """
{data}
layer {{ name: "listed" type: "ImageData" top: "image" top: "image_label"
  transform_param {{ mirror: true crop_size: 8 }}
  image_data_param {{ source: "images.txt" root_folder: "images/" batch_size: 6 shuffle: true rand_skip: 9 }} }}
layer {{ name: "rows" type: "HDF5Data" top: "vector" top: "vector_label"
  hdf5_data_param {{ source: "rows.txt" batch_size: 6 shuffle: true }} }}
layer {{ name: "cont" type: "DummyData" top: "cont" dummy_data_param {{
  shape {{ dim: 3 dim: 2 }} data_filler {{ value: 1 }} }} }}
layer {{ name: "target" type: "DummyData" top: "target" dummy_data_param {{
  shape {{ dim: 3 dim: 2 dim: 4 }} data_filler {{ type: "gaussian" std: 1 }} }} }}
layer {{ name: "steps" type: "Reshape" bottom: "vector" top: "steps"
  reshape_param {{ shape {{ dim: 3 dim: 2 dim: 3 }} }} }}
layer {{ name: "cell" type: "LSTM" bottom: "steps" bottom: "cont" top: "cell"
  recurrent_param {{ num_output: 4 weight_filler {{ type: "uniform" min: -0.6 max: 0.6 }} }} }}
layer {{ name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
  inner_product_param {{ num_output: {classes} weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "pool" type: "Pooling" bottom: "image" top: "pool" pooling_param {{ kernel_size: 2 stride: 2 }} }}
layer {{ name: "drop" type: "Dropout" bottom: "pool" top: "pool" }}
layer {{ name: "ip2" type: "InnerProduct" bottom: "pool" top: "ip2"
  inner_product_param {{ num_output: {classes} weight_filler {{ type: "gaussian" std: 0.01 }} }} }}
layer {{ name: "loss1" type: "SoftmaxWithLoss" bottom: "ip1" bottom: "label" top: "loss1" }}
layer {{ name: "loss2" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "image_label" top: "loss2" }}
layer {{ name: "loss3" type: "EuclideanLoss" bottom: "cell" bottom: "target" top: "loss3" }}
layer {{ name: "silence" type: "Silence" bottom: "vector_label" }}
"""

# Shuffles its rows with the numbers with which the train net shuffles its own.
TEST_NET = """
layer { name: "rows" type: "HDF5Data" top: "vector" top: "vector_label"
  hdf5_data_param { source: "rows.txt" batch_size: 7 shuffle: true } }
layer { name: "silence" type: "Silence" bottom: "vector" bottom: "vector_label" }
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, one_blas_thread: None) -> Path:
    """A folder with the data, the run, and `skipped`: a restart that leaves data out."""
    home = tmp_path_factory.mktemp("sources")
    images, labels = digits(RECORDS, 3)
    write_lmdb(home / "train", images, labels)
    write_list_and_rows(home, images, labels)
    data = data_layer(home / "train", "TRAIN", 6, "mirror: true crop_size: 9")
    (home / "net.prototxt").write_text(NET.format(data=data, classes=CLASSES))
    fields = {"type": '"Adam"', "momentum2": 0.99, "iter_size": PASSES, "max_iter": LAST, "snapshot": SNAPSHOT}
    fields |= {"base_lr": 1e-3, "test_iter": 2, "test_interval": 3, "test_net": '"test.prototxt"'}
    (home / "test.prototxt").write_text(TEST_NET)
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "x", **fields))
    train(home / "solver.prototxt", home / "run", "--watch", "8:14", cwd=home)
    without = ("--skip-records", "3.png,rows1.h5:9,00000110_img110.png", "--skip", "11:13")
    restart(home / "run", "--from", SNAPSHOT, *without, "--out", home / "skipped", cwd=home)
    return home


@contextmanager
def store_of(run: Path, limit: int = LIMIT) -> Iterator[BatchStore]:
    solver = parse_text(read_info(run).solver, pb.SolverParameter, run)
    with tempfile.TemporaryFile() as file:
        yield BatchStore(train_batches(run), solver, run, file.fileno(), limit)


def tops_of(store: BatchStore, batch: StoredBatch) -> list[np.ndarray]:
    """Read a batch as a layer gives it."""
    offset, tops = batch.offset, []
    for shape in batch.shapes:
        size = 4 * int(np.prod(shape))
        tops.append(np.frombuffer(os.pread(store.fd, size, offset), np.float32).reshape(shape).copy())
        offset += size
    for record in batch.replaced:
        offset = record.offset
        for top in tops:
            part = top[record.position : record.position + 1]
            part[...] = np.frombuffer(os.pread(store.fd, part.nbytes, offset), np.float32).reshape(part.shape)
            offset += part.nbytes
    return tops


def recorded(run: Path, iteration: int) -> list[list[np.ndarray]]:
    """The inputs in the window, as (layer, top) with the passes one after the other."""
    with Recording(run) as recording:
        names = (("data", "label"), ("image", "image_label"), ("vector", "vector_label"))
        return [[recording.input(iteration, name) for name in tops] for tops in names]


def test_batches_are_those_that_the_net_read(home: Path) -> None:
    with store_of(home / "run") as store:
        feeds = store.feed(Arm(SNAPSHOT, 5))
        for t in range(5):
            for feed, wanted in zip(feeds, recorded(home / "run", SNAPSHOT + t), strict=True):
                for number in range(PASSES):
                    tops = tops_of(store, feed.batches[PASSES * t + number])
                    assert [top.tobytes() for top in tops] == [values[number].tobytes() for values in wanted]
        size = store.size
        store.feed(Arm(SNAPSHOT + 1, 3))
        assert store.size == size  # nothing is read twice


def test_a_stretch_reads_the_batches_of_other_iterations(home: Path) -> None:
    shifts = (StreamShifted(9, 2, stop=11), StreamShifted(12, 13))
    with store_of(home / "run") as store:
        shifted, plain = store.feed(Arm(SNAPSHOT, 6, shifts)), store.feed(Arm(0, 20))
        for ours, theirs in zip(shifted, plain, strict=True):
            order = [8, 2, 3, 11, 13, 14]
            expected = [theirs.batches[PASSES * t + n] for t in order for n in range(PASSES)]
            assert list(ours.batches) == expected


def test_batches_from_before_and_after_the_start_in_any_order_are_stored_once_each(home: Path) -> None:
    order = [13, 2, 8, 19, 5, 2, 0]
    shifts = tuple(StreamShifted(t, source, t + 1) for t, source in enumerate(order, SNAPSHOT))
    with store_of(home / "run") as store:
        shifted = store.feed(Arm(SNAPSHOT, len(order), shifts))
        size = store.size
        for ours, theirs in zip(shifted, store.feed(Arm(0, 20)), strict=True):
            assert list(ours.batches) == [theirs.batches[PASSES * t + n] for t in order for n in range(PASSES)]
        assert 20 * size == len(set(order)) * store.size


def test_batches_from_before_a_restart_are_those_of_the_run_that_it_continues(home: Path) -> None:
    """The list has one image less before it, which is left out. The order of shuffled rows cannot be told backwards."""
    ours, theirs = train_batches(home / "skipped"), train_batches(home / "run")
    assert [layer.first for layer in ours] == [0, 1, SNAPSHOT]
    found, read = ([[top.tobytes() for top in tops] for tops in layer.passes(0, 8)] for layer in (ours[0], theirs[0]))
    assert found == read
    assert len(list(ours[1].passes(1, 8))) == 8 * PASSES
    assert first_batches(home / "skipped") == SNAPSHOT
    with store_of(home / "skipped") as store, pytest.raises(RecordsUnknown, match="Iteration 7 is not of this run"):
        store.feed(Arm(SNAPSHOT, 2, (StreamShifted(9, 7),)))


@pytest.mark.parametrize("run", ["run", "skipped"])
def test_records_are_numbered_as_they_are_named(home: Path, run: str) -> None:
    """Of the LMDB, the list and the rows, with records left out and a stretch that was skipped."""
    data, iterations = RunData(home / run, read_info(home / run)), range(SNAPSHOT, LAST - 2)
    read = [read_records(home / run, t).layers for t in iterations]
    for index in range(3):
        keys = [record.key for layers in read for record in layers[index].records]
        numbers = data.record_numbers(index, iterations)
        assert numbers.shape == (len(iterations), 6 * PASSES)
        pairs = set(zip(numbers.ravel().tolist(), keys, strict=True))
        assert len(pairs) == len(set(keys)) == len({number for number, _ in pairs})


def test_iterations_that_read_the_same_records(home: Path) -> None:
    """The rows are few, so that every iteration reads some of them again; before the run, they are not known."""
    assert with_records_of(home / "run", range(9, 10), range(SNAPSHOT, LAST)) == set(range(SNAPSHOT, LAST))
    records = RunData(home / "skipped", read_info(home / "skipped")).record_numbers(0, range(3))
    assert records.tolist() == [list(range(12 * t, 12 * t + 12)) for t in range(3)]


def test_a_replaced_record_is_transformed_as_the_one_before_and_all_others_stay(home: Path) -> None:
    """Of place 9: the second pass, position 3. The oracle cuts the source's pixels as the place was cut."""
    place, source = Place(SNAPSHOT + 2, 9), Place(15, 4)
    images, labels = digits(RECORDS, 3)
    there, taken = (read_records(home / "run", p.iteration) for p in (place, source))
    with store_of(home / "run") as store:
        feeds = store.feed(Arm(SNAPSHOT, 4, (RecordsReplaced((Replacement(place, source),)),)))
        for number, (feed, before) in enumerate(zip(feeds, recorded(home / "run", place.iteration), strict=True)):
            for n in range(PASSES):
                values, label = tops_of(store, feed.batches[2 * PASSES + n])
                expected, wanted = before[0][n].copy(), before[1][n].copy()
                if n == 1:
                    record = taken.layers[number].records[source.position]
                    wanted[3] = record.label
                    if number == 2:  # rows are not transformed
                        expected[3] = record.values
                    else:
                        at, side = int(record.key[:8].removesuffix(".png")), (9, 8)[number]
                        assert labels[at] == record.label
                        crop = there.layers[number].records[place.position].crop
                        assert crop is not None
                        pixels = images[at][:, crop[0] : crop[0] + side, crop[1] : crop[1] + side].astype(np.float32)
                        if there.layers[number].records[place.position].mirrored:
                            pixels = pixels[:, :, ::-1]
                        expected[3] = pixels * np.float32(0.0078125 if number == 0 else 1)
                assert values.tobytes() == expected.tobytes()
                assert label.tobytes() == wanted.tobytes()


def test_only_named_layers_are_replaced(home: Path) -> None:
    change = RecordsReplaced((Replacement(Place(9, 0), Place(10, 0), ("listed",)),))
    with store_of(home / "run") as store:
        changed = store.feed(Arm(SNAPSHOT, 4, (change,)))
        assert [feed.batches[PASSES].replaced != () for feed in changed] == [False, True, False]


@pytest.mark.parametrize(
    ("replacement", "words"),
    [
        (Replacement(Place(12, 0), Place(8, 0)), "the arm has the iterations 8 to 11"),
        (Replacement(Place(9, 12), Place(8, 0)), "reads 12 records in an iteration"),
        (Replacement(Place(9, 0), Place(8, 12)), "reads fewer records in iteration 8"),
        (Replacement(Place(9, 0), Place(8, 0), ("ip1",)), "ip1 is no data layer"),
    ],
)
def test_places_that_an_arm_does_not_have(home: Path, replacement: Replacement, words: str) -> None:
    with store_of(home / "run") as store, pytest.raises(BadInput, match=words):
        store.feed(Arm(SNAPSHOT, 4, (RecordsReplaced((replacement,)),)))


def test_a_store_has_a_limit(home: Path) -> None:
    with store_of(home / "run", 100_000) as store:
        with pytest.raises(BadInput, match=r"those of all arms may take 0\.1"):
            store.feed(Arm(SNAPSHOT, 1000))
        assert store.size == 0


def test_controls_of_a_start_and_of_a_later_iteration(home: Path) -> None:
    """Adam, iter_size, an LSTM, random targets and Dropout; the second one begins where the worker itself goes."""
    for arm in (first := Arm(0, 6), later := Arm(5, 12)):
        assert arm
    for result in replay_all(home / "run", 0, (first, later)):
        assert result.ended == "completed", result.why
        assert list(result.digest) == recorded_digests(home / "run", result.arm.start, result.arm.horizon)


def test_a_redrawn_layer_forgets_both_histories_of_adam_and_a_look_covers_all_passes(home: Path) -> None:
    """The first update from a history of zero has one size for all params, whatever their gradient is."""
    (found,) = replay_all(home / "run", SNAPSHOT, [Arm(SNAPSHOT, 2, (LayerRedrawn("cell"),), look=True)])
    t, momentum, momentum2 = SNAPSHOT + 1, 0.9, 0.99
    corrected = found.rate[0] * math.sqrt(1 - momentum2**t) / (1 - momentum**t)
    each = corrected * (1 - momentum) / math.sqrt(1 - momentum2)
    with Recording(home / "run") as recording:
        count = sum(math.prod(param.shape) for param in recording.params if param.layer == "cell")
        read = recording.input(SNAPSHOT, "data")
    assert found.layer_update_l2["cell"][0] == pytest.approx(each * math.sqrt(count), rel=1e-3)
    assert found.blob_peak["data"][0] == np.abs(read).max()
    assert np.abs(read[0]).max() != np.abs(read[1]).max()


@pytest.mark.parametrize(("run", "first"), [("run", 10), ("skipped", SNAPSHOT)])
def test_controls_of_a_replay_and_of_a_restart_that_leaves_data_out(home: Path, run: str, first: int) -> None:
    """The run kept no state of iteration 10: an exact replay goes there first."""
    (result,) = replay_all(home / run, first, [Arm(first, LAST - first)])
    assert result.ended == "completed", result.why
    assert list(result.digest) == recorded_digests(home / run, first, LAST - first)


def test_inputs_of_a_window_stand_in_for_data_that_are_gone(home: Path) -> None:
    gone = [home / name for name in ("train", "images.txt", "rows1.h5")]
    for path in gone:
        path.rename(path.with_name(f"{path.name}.gone"))
    try:
        arm = Arm(SNAPSHOT, 6, seed=1)
        (result,) = replay_all(home / "run", SNAPSHOT, [arm])
        assert list(result.digest) == recorded_digests(home / "run", SNAPSHOT, 6)
        with store_of(home / "run") as store, pytest.raises(RecordsUnknown, match="iteration 14 is in no window"):
            store.feed(Arm(SNAPSHOT, 7))
        with pytest.raises(RecordsUnknown, match="Nor does the run have a window"):
            train_batches(home / "skipped")
    finally:
        for path in gone:
            path.with_name(f"{path.name}.gone").rename(path)


def test_data_that_have_changed_since(home: Path) -> None:
    """One record is another one; a run with a window falls back on that."""
    (home / "train").rename(home / "train.kept")
    images, labels = digits(RECORDS, 3)
    images[7] = 0
    write_lmdb(home / "train", images, labels)
    try:
        with pytest.raises(RecordsUnknown, match=r"(?s)train.*has changed"):
            train_batches(home / "skipped")
        (result,) = replay_all(home / "run", SNAPSHOT, [Arm(SNAPSHOT, 6, seed=2)])
        assert list(result.digest) == recorded_digests(home / "run", SNAPSHOT, 6)
    finally:
        shutil.rmtree(home / "train")
        (home / "train.kept").rename(home / "train")
