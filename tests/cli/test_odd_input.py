"""Input that Caffe accepts silently, or at which it dies in the middle of a training, is reported before it starts.

What cannot train is refused; what may be meant is a warning, and trains as `caffe train` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import lmdb
import numpy as np
import pytest

from harness.caffe_files.messages import pb, read_binary
from harness.supervisor.validation import label_values, listed_images
from tests.helpers.bad_input import Case
from tests.helpers.commands import caffe_train
from tests.helpers.lmdbs import SIDE, digits, write_lmdb

pytestmark = pytest.mark.usefixtures("one_blas_thread")


@pytest.fixture
def case(small: Path, digit_data: Path, capfd: pytest.CaptureFixture[str]) -> Case:
    return Case(small, digit_data, capfd)


# -- learning rates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"lr_policy": '"exp"'},
            "is 0 from iteration 1 to 59, the last one (lr_policy exp, base_lr 0.01, gamma not",
        ),
        ({"lr_policy": '"step"', "stepsize": 20}, "is 0 from iteration 20 to 59"),
        ({"lr_policy": '"multistep"', "stepvalue": [5, 9]}, "is 0 from iteration 5 to 59"),
        ({"lr_policy": '"multistep"', "stepvalue": 59}, "is 0 at iteration 59"),
        ({"lr_policy": '"sigmoid"', "gamma": 9, "stepsize": 40}, "is 0 from iteration 0 to 30 "),
        ({"lr_policy": '"exp"', "gamma": 1e9}, "is inf from iteration 5 to 59"),
        ({"lr_policy": '"fixed"', "base_lr": 0}, "is 0 at every iteration from 0 to 59"),
        ({"lr_policy": '"fixed"', "base_lr": -0.01}, "of iteration 0 is -0.01"),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_a_rate_that_is_0_or_infinite_is_a_warning(case: Case, fields: dict[str, object], said: str) -> None:
    case.solver_fields(**{"power": None} | fields)
    warning = case.warnings()
    assert said in warning
    assert warning.count("warning: ") == 1
    assert str(case.solver) in warning


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"base_lr": None}, ("base_lr", "not given")),
        ({"base_lr": "nan"}, ("lr_policy = poly", "iteration 0 is nan")),
        ({"base_lr": "inf", "lr_policy": '"exp"', "gamma": 0.9, "power": None}, ("iteration 0 is inf", "gamma 0.9")),
        ({"power": "nan", "lr_policy": '"inv"', "gamma": "inf"}, ("iteration 0 is nan", "gamma inf, power nan")),
    ],
)
def test_a_rate_that_is_never_finite_is_refused(case: Case, fields: dict[str, object], said: tuple[str, ...]) -> None:
    case.solver_fields(**fields)
    case.refused(str(case.solver), *said)


@pytest.mark.parametrize("policy", ["step", "multistep", "inv", "poly", "sigmoid", "exp", "fixed"])
def test_usual_rates_raise_no_warning(case: Case, policy: str) -> None:
    case.solver_fields(lr_policy=f'"{policy}"', gamma=0.9, power=0.75, stepsize=20, stepvalue=[20, 40])
    assert not case.warnings()


# -- snapshots in HDF5 ------------------------------------------------------------------------------------------------


def test_a_blob_with_a_slash_that_is_written_in_place_allows_snapshots_in_hdf5(case: Case) -> None:
    """Caffe makes no Split layer of its name, unlike for one that two layers read."""
    relu = 'layer { name: "relu" type: "ReLU" bottom: "ip/out" top: "ip/out" }'
    case.net.write_text(f"""
layer {{ name: "data" type: "Data" top: "data" top: "label"
  data_param {{ source: "{case.data}/train" batch_size: 4 backend: LMDB }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip/out" inner_product_param {{ num_output: 5 }} }}
{relu}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip/out" bottom: "label" top: "loss" }}""")
    case.solver_fields(snapshot_format="HDF5", test_iter=None, test_interval=None)
    case.works()
    assert [path.name for path in (case.out / "snapshots").glob("*.caffemodel.h5")] == ["native_iter_3.caffemodel.h5"]
    case.edit(case.net, relu, 'layer { name: "silence" type: "Silence" bottom: "ip/out" }')
    case.refused("a slash in a name (ip/out)", out=case.home / "other")


# -- history ----------------------------------------------------------------------------------------------------------


def test_momentum_of_a_nesterov_solver_under_sgd_is_a_warning(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOG_log_dir", str(case.home))  # not where other trainings have left their logs
    case.solver_fields(type='"Nesterov"', snapshot=0, max_iter=8, test_iter=None, test_interval=None)
    (case.home / "caffe.log").write_text(caffe_train(case.solver))
    own = case.home / "native_iter_8.solverstate"
    case.works("--until", 4)
    ours = case.out / "snapshots/native_iter_4.solverstate"
    for state in (own, ours):
        case.solver_fields(type='"Nesterov"', max_iter=12)
        assert not case.warnings(state)
        case.solver_fields(max_iter=12)
        said = case.warnings(state)
        assert f"warning: {case.solver}: the solver's type is SGD, and {state} is of a Nesterov solver" in said
        case.solver_fields(max_iter=12, type='"AdaGrad"', momentum=0)  # has as many history blobs
        case.refused(
            "type = AdaGrad", "history of a solver of type Nesterov", arguments=("--resume", state), out=case.out
        )


# -- means and crops --------------------------------------------------------------------------------------------------


def mean(*shape: int, legacy: bool = True) -> bytes:
    """A mean image of that shape, as compute_image_mean writes it or as Blob::ToProto does."""
    blob = pb.BlobProto(data=np.full(int(np.prod(shape)), 100.0).tolist())
    if legacy:
        blob.num, blob.channels, blob.height, blob.width = shape
    else:
        blob.shape.dim.extend(shape)
    return blob.SerializeToString()


def subtracts(case: Case, transform: str, phase: str = "TRAIN") -> None:
    """Let the data layer of that phase have `transform` in place of its scale."""
    before, layer, after = case.net.read_text().partition(f"include {{ phase: {phase} }}")
    case.net.write_text(before + layer + after.replace("scale: 0.0078125", transform, 1))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (mean(1, 1, 16, 16), ("the mean is 1×16×16, and the image is 1×12×12", "00000000_img0.png")),
        (mean(1, 1, 10, 10), ("the mean is 1×10×10, and the image is 1×12×12",)),
        (mean(1, 3, 12, 12), ("the mean is 3×12×12, and the image is 1×12×12",)),
        (mean(1, 12, 12, legacy=False), ("the mean is 12×12×1, and the image is 1×12×12",)),
        (mean(1, 1, 12, 12)[:300], ("not a mean image, or a damaged one",)),
        (mean(1, 1, 12, 12)[:-4], ("not a mean image, or a damaged one",)),
        (pb.BlobProto(num=1, channels=1, height=12, width=12, data=[1.0]).SerializeToString(), ("1 values in a blob",)),
        (b"", ("0 values in a blob",)),
        (b"P5 12 12 255 " + bytes(144), ("not a mean image, or a damaged one",)),
        (pb.NetParameter(name="net").SerializeToString(), ("not a mean image, or a damaged one",)),
    ],
    ids=["size", "crop", "channels", "axes", "cut", "a value", "values", "empty", "picture", "net"],
)
def test_a_mean_that_does_not_fit_the_images(case: Case, content: bytes, said: tuple[str, ...]) -> None:
    path = case.home / "mean.binaryproto"
    path.write_bytes(content)
    subtracts(case, f'mean_file: "{path}"', "TEST" if b"P5" in content else "TRAIN")
    case.refused(f"{case.net}: layer data: mean_file = {path}", "compute_image_mean", *said)


@pytest.mark.parametrize("shape", [(1, 1, SIDE, SIDE), (4, 1, SIDE, SIDE)])
@pytest.mark.parametrize("legacy", [True, False])
def test_a_mean_that_fits(case: Case, shape: tuple[int, ...], legacy: bool) -> None:
    path = case.home / "mean.binaryproto"
    path.write_bytes(mean(*shape, legacy=legacy))
    subtracts(case, f'mean_file: "{path}"')
    assert not case.warnings()


def test_a_mean_value_for_each_channel(case: Case) -> None:
    subtracts(case, "mean_value: 100 mean_value: 90")
    case.refused("mean_value = 100 90: 2 values, and the image has 1 channel ", "00000000_img0.png")
    case.edit(case.net, "mean_value: 100 mean_value: 90", "mean_value: 100")
    assert not case.warnings()


def own(
    case: Case, records: dict[int, bytes], count: int = 24, shape: tuple[int, int] = (SIDE, SIDE), phase: str = "TRAIN"
) -> Path:
    """Let the net of that phase read an LMDB of its own, with `records`."""
    images, labels = digits(count, 3)
    images = images.repeat(2, axis=2).repeat(2, axis=3)[:, :, : shape[0], : shape[1]]
    source = write_lmdb(case.home / f"own_{phase}", images, labels)
    with lmdb.open(str(source), map_size=1 << 30) as environment, environment.begin(write=True) as transaction:
        for number, value in records.items():
            assert transaction.put(f"{number:08d}_img{number}.png".encode(), value)
    case.edit(case.net, str(case.data / phase.lower()), str(source))
    return source


def encoded(kind: str, channels: int = 1, dtype: type = np.uint8, size: int = SIDE) -> bytes:
    """A picture as a file of that kind."""
    pixels: np.ndarray = np.random.default_rng(1).integers(0, 200, (size, size, channels)).astype(dtype)
    done, data = cv2.imencode(f".{kind}", pixels)
    assert done
    return data.tobytes()


def datum(shape: tuple[int, int, int], data: bytes | None = None, **fields: object) -> bytes:
    channels, height, width = shape
    data = bytes(channels * height * width) if data is None else data
    return pb.Datum(channels=channels, height=height, width=width, data=data, label=1, **fields).SerializeToString()  # type: ignore[arg-type]


def stored(data: bytes) -> bytes:
    return pb.Datum(data=data, label=1, encoded=True).SerializeToString()


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (datum((1, 9, 12)), ("crop_size = 10: larger than an image: record 7", "9×12")),
        (datum((3, 12, 12)), ("record 6 ", "1×12×12", "record 7 ", "3×12×12", "must have one shape")),
        (stored(encoded("png", 3)), ("1×12×12", "3×12×12", "must have one shape")),
        (stored(encoded("png", 3, np.uint16)), ("record 7, key 00000007_img7.png, has 16 bits a value", "force_color")),
    ],
    ids=["smaller than the crop", "channels", "channels of a PNG", "16 bits"],
)
def test_a_record_that_does_not_fit_the_others(case: Case, record: bytes, said: tuple[str, ...]) -> None:
    own(case, {7: record})
    for _ in range(2):  # the second time from the cache
        case.refused("00000007_img7.png", *said)


def test_records_of_several_sizes_need_a_crop_or_batches_of_one_size(case: Case) -> None:
    own(case, {number: datum((1, 12, 14)) for number in range(8)})
    assert not case.warnings()
    case.net.write_text(re.sub(r"(mirror: true )?crop_size: 10", "", case.net.read_text()))
    assert not case.warnings()  # the first batch has one size, and so have the others
    own_lmdb = case.home / "own_TRAIN"
    with lmdb.open(str(own_lmdb), map_size=1 << 30) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"00000008_img8.png", datum((1, 12, 14)))
    case.refused("record 9 ", "record 8 ", "1×12×14", "1×12×12", "must have one shape")


# -- records that Caffe cannot use ------------------------------------------------------------------------------------


def test_records_that_caffe_cannot_use_are_refused_unless_they_are_left_out(case: Case) -> None:
    text, short = stored(b"not an image"), datum((3, 12, 12), bytes(144))
    source = own(case, {41: text, 47: short}, count=48)
    said = case.refused(
        f"{source}: 2 of 48 records cannot be used",
        "record 00000041_img41.png: 12 bytes that begin b'not an image', which cannot be decoded",
        "record 00000047_img47.png: 144 bytes of pixels, and its shape 3×12×12 needs 432",
    )
    (option,) = re.findall(r"--skip-records (\S+)", said)
    case.refused("1 of 48 records cannot be used", arguments=("--skip-records", "00000041_img41.png"))
    code, said = case.run("--skip-records", option, "--until", 8)
    assert code == 0, said


def test_records_that_do_not_fit_train_once_they_are_left_out(case: Case) -> None:
    """A label outside the classes, an image of another size, and one in colour, all behind the first ones read."""
    wrong_label = pb.Datum(channels=1, height=12, width=12, data=bytes(144), label=77).SerializeToString()
    own(case, {41: wrong_label}, count=48)
    case.refused("1 of 48 labels lie outside")
    assert case.run("--skip-records", "00000041_img41.png", "--until", 8, out=case.home / "labels")[0] == 0
    case.net.write_text(re.sub(r"(mirror: true )?crop_size: 10", "", case.net.read_text()))
    own_lmdb = str(case.home / "own_TRAIN")
    with lmdb.open(own_lmdb, map_size=1 << 30) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"00000045_img45.png", datum((1, 12, 14)))
        transaction.put(b"00000046_img46.png", datum((3, 12, 12)))
    keys = [f"{number:08d}_img{number}.png" for number in (41, 45, 46)]
    case.refused("record 45 ", "must have one shape", arguments=("--skip-records", keys[0]))
    code, said = case.run("--skip-records", ",".join(keys), "--until", 8)
    assert code == 0, said


def test_rows_with_labels_outside_the_classes_train_once_they_are_left_out(case: Case) -> None:
    reads_rows(case, [np.array([0, 1, 2]), np.array([3, 9, 4, 1])])
    case.refused("1 of 7 labels lie outside 0…4", "row 1 of ")
    code, said = case.run("--skip-records", "rows1.h5:1", "--until", 3)
    assert code == 0, said


def test_one_of_the_first_records_cannot_be_left_out(case: Case) -> None:
    own(case, {31: stored(b"not an image")}, count=48)
    assert "--skip-records" not in case.refused("1 of 48 records cannot be used", "00000031_img31.png")
    case.refused("The first 32 cannot be left out", arguments=("--skip-records", "00000031_img31.png"))


@pytest.mark.parametrize(("phase", "number", "when"), [("TRAIN", 61, "at iteration 7"), ("TEST", 16, "in a test pass")])
def test_the_record_at_which_caffe_dies_is_named(case: Case, phase: str, number: int, when: str) -> None:
    """A part of a JPEG: only Caffe can tell whether it decodes it."""
    whole = stored(encoded("jpg", size=2 * SIDE))
    part = stored(encoded("jpg", size=2 * SIDE)[:200])
    source = own(case, {n: part if n == number else whole for n in range(70)}, count=70, phase=phase)
    other = own(case, dict.fromkeys(range(70), whole), count=70, phase={"TRAIN": "TEST", "TEST": "TRAIN"}[phase])
    assert other != source
    code, said = case.run()
    key = f"{number:08d}_img{number}.png"
    assert (
        f"warning: {source}: 1 of 70 records hold a JPEG without its end (the first: record {number}, key {key})"
        in said
    )
    assert code in (2, 4)  # 2 where Caffe read that far before the first iteration was done
    end = said.rpartition("warning: ")[2]
    assert f"{source}: record {key}: its 200 bytes cannot be decoded" in end
    assert when in end
    assert "Traceback" not in said


def test_half_a_jpeg_that_caffe_decodes_trains_as_by_caffe(case: Case) -> None:
    whole = stored(encoded("jpg", size=2 * SIDE))
    half = stored(encoded("jpg", size=2 * SIDE)[:330])
    own(case, {n: half if n == 13 else whole for n in range(24)})
    own(case, dict.fromkeys(range(24), whole), phase="TEST")
    case.solver_fields(max_iter=5, snapshot=0)
    caffe_train(case.solver)
    assert case.run()[0] == 0
    ours, caffes = (
        [blob.data for layer in read_binary(path, pb.NetParameter, "caffemodel").layer for blob in layer.blobs]
        for path in (case.out / "snapshots/native_iter_5.caffemodel", case.home / "native_iter_5.caffemodel")
    )
    assert ours == caffes


def test_records_with_more_values_than_their_shape_are_a_warning(case: Case) -> None:
    source = own(case, {7: datum((1, 12, 12), np.ones(144, np.float32).tobytes())})
    said = case.warnings()
    assert f"warning: {source}: 1 of 24 records hold more values than their shape 1×12×12 has" in said
    assert "00000007_img7.png" in said


@pytest.mark.parametrize("make", [lambda: encoded("jpg"), lambda: encoded("bmp"), lambda: encoded("png")])
def test_encoded_images_that_fit_raise_no_warning(case: Case, make: Callable[[], bytes]) -> None:
    own(case, {number: stored(make()) for number in range(24)})
    assert not case.warnings()


# -- labels and targets -----------------------------------------------------------------------------------------------

CLASSIFIER = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 5
  weight_filler { type: "xavier" } } }
"""
SOFTMAX = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }\n'
SIGMOID = 'layer { name: "loss" type: "SigmoidCrossEntropyLoss" bottom: "ip" bottom: "label" top: "loss" }\n'


def reads_rows(case: Case, labels: list[np.ndarray], losses: str = SOFTMAX, phase: str = "TRAIN") -> Path:
    """Let the net read a list of HDF5 files with these labels in that phase, and what fits in the other."""
    source = case.home / "rows.txt"
    good = [np.zeros_like(part) for part in labels]
    for name, parts in (("rows", labels), ("good", good)):
        files = []
        for number, part in enumerate(parts):
            files.append(str(case.home / f"{name}{number}.h5"))
            with h5py.File(files[-1], "w") as file:
                file["data"], file["label"] = np.zeros((len(part), 4), np.float32), part
        (case.home / f"{name}.txt").write_text("\n".join(files))
    other = "TEST" if phase == "TRAIN" else "TRAIN"
    layers = [
        f"""layer {{ name: "rows" type: "HDF5Data" top: "data" top: "label" include {{ phase: {at} }}
          hdf5_data_param {{ source: "{case.home / name}.txt" batch_size: 4 }} }}\n"""
        for at, name in ((phase, "rows"), (other, "good"))
    ]
    case.net.write_text("".join(layers) + CLASSIFIER + losses)
    return source


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1, 2, 3, 4, 5, 4], ("label = 0…5: 1 of 10 labels lie outside 0…4", "row 5 of ", "label 5)")),
        ([0, -1, 2], ("label = -1…2", "row 1 of ", "they count from 0")),
        ([0, 1, np.nan], ("label = nan…nan", "row 2 of ", "label nan)")),
        ([[1], [2], [1000]], ("label = 0…1000", "num_output of the classifier to at least 1001")),
    ],
    ids=["one too many", "negative", "nan", "column"],
)
def test_labels_of_hdf5_files_outside_the_classes(
    case: Case, labels: list[float], said: tuple[str, ...], phase: str
) -> None:
    bad = np.array(labels, np.float32)
    source = reads_rows(case, [np.zeros_like(bad[:3]), bad], phase=phase)
    case.refused(str(source), "rows1.h5", *said)


def test_labels_that_are_cut_out_of_a_dataset_are_compared_with_their_own_classes(case: Case) -> None:
    labels = np.tile(np.array([[4, 7]], np.float32), (6, 1))
    slices = """layer { name: "slice" type: "Slice" bottom: "label" top: "label0" top: "label1" }
layer { name: "ip2" type: "InnerProduct" bottom: "data" top: "ip2" inner_product_param { num_output: 8 } }
layer { name: "loss2" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label1" top: "loss2" }\n"""
    reads_rows(case, [labels], slices + SOFTMAX.replace('"label"', '"label0"'))
    assert not case.warnings()
    labels[3, 1] = 8
    reads_rows(case, [labels], slices + SOFTMAX.replace('"label"', '"label0"'))
    case.refused("1 of 6 labels lie outside 0…7", "layer loss2", "row 3 of ", "label 8)")


def test_planes_that_are_cut_out_of_a_dataset_are_compared_with_their_own_classes(case: Case) -> None:
    """Labels of each pixel: the first plane has classes of its own."""
    planes = np.array([7, 4], np.float32).reshape(1, 2, 1, 1).repeat(6, 0).repeat(3, 2).repeat(3, 3)
    net = """layer { name: "slice" type: "Slice" bottom: "label" top: "label0" top: "label1"
  slice_param { slice_point: 1 } }
layer { name: "many" type: "InnerProduct" bottom: "data" top: "many" inner_product_param { num_output: 45 } }
layer { name: "map" type: "Reshape" bottom: "many" top: "map"
  reshape_param { shape { dim: 0 dim: 5 dim: 3 dim: 3 } } }
layer { name: "head" type: "Convolution" bottom: "map" top: "head" convolution_param { num_output: 5 kernel_size: 1 } }
layer { name: "loss2" type: "SoftmaxWithLoss" bottom: "head" bottom: "label1" top: "loss2" }\n"""
    reads_rows(case, [planes], net)
    assert not case.warnings()
    planes[3, 1, 2, 2] = 5
    reads_rows(case, [planes], net)
    case.refused("1 of 54 labels lie outside 0…4", "layer loss2", "row 3 of ", "label 5)")


def test_labels_with_a_fraction_are_a_warning(case: Case) -> None:
    source = reads_rows(case, [np.array([0, 1.5, 2, 2.25, 4])])
    said = case.warnings()
    assert f"warning: {source}: label: the fraction of 2 of 5 labels is lost" in said
    assert "row 1 of " in said


def test_ignored_labels_and_targets_may_have_any_value(case: Case) -> None:
    for loss, label in ((SOFTMAX, 255), (SOFTMAX, -1), (SIGMOID, -1)):
        labels = np.array([0, 1, label, 1, label], np.float32).reshape(-1, 1).repeat(5 if loss == SIGMOID else 1, 1)
        reads_rows(case, [labels], loss.replace("type:", f"loss_param {{ ignore_label: {label} }} type:"))
        assert not case.warnings()


@pytest.mark.parametrize(
    ("value", "said"), [(255, "0…255"), (-1, "-1…0"), (1.01, "0…1.01"), (np.nan, "nan…nan"), (1, ""), (0.25, "")]
)
def test_sigmoid_targets_outside_0_and_1_are_a_warning(case: Case, value: float, said: str) -> None:
    targets = np.zeros((6, 5), np.float32)
    targets[4, 2] = value
    reads_rows(case, [targets], SIGMOID)
    warning = case.warnings()
    assert ("row 4 of " in warning) == bool(said)
    if said:
        assert (
            f"layer loss (SigmoidCrossEntropyLoss): its targets in {case.home}/rows.txt (label) are {said}" in warning
        )


def test_masks_of_0_and_255_as_targets_are_a_warning(case: Case) -> None:
    masks = np.zeros((12, 1, 4, 4), np.uint8)
    write_lmdb(case.home / "images", masks, np.zeros(12, int))
    masks[5:, 0, 2] = 255
    source = write_lmdb(case.home / "masks", masks, np.zeros(12, int))
    layers = [
        f'layer {{ name: "{name}" type: "Data" top: "{name}" data_param {{ source: "{case.home / where}" batch_size: 4 '
        f"backend: LMDB }} }}\n"
        for name, where in (("data", "images"), ("label", "masks"))
    ]
    conv = """layer { name: "ip" type: "Convolution" bottom: "data" top: "ip"
      convolution_param { num_output: 1 kernel_size: 1 } }\n"""
    case.net.write_text("".join(layers) + conv + SIGMOID)
    case.solver_fields(test_iter=None, test_interval=None)
    said = case.warnings()
    assert f"its targets in {source} (pixels) are 0…255" in said
    assert "record 5, key 00000005_img5.png" in said
    assert "scale: 0.0039215686" in said
    layer = 'name: "label" type: "Data"'
    case.edit(case.net, layer, f"{layer} transform_param {{ scale: 0.0039215686 }}")
    assert not case.warnings()
    case.edit(case.net, "scale: 0.0039215686", "scale: 0.004")
    assert "are 0…1.02, and must lie in 0…1" in case.warnings()


def test_many_rows_are_not_all_read(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_values, "_MOST", 1000)
    monkeypatch.setattr(label_values, "_ROWS", 50)
    labels = np.zeros((3000, 10), np.float32)
    reads_rows(case, [labels[:2500], labels[:500]], SIGMOID.replace('"ip"', '"data"'))
    assert not case.warnings()
    labels[-1] = 2
    reads_rows(case, [labels[:2500], labels[2500:]], SIGMOID.replace('"ip"', '"data"'))
    assert "row 499 of " in case.warnings()


# -- lists of images --------------------------------------------------------------------------------------------------


def reads_list(case: Case, images: dict[str, bytes], labels: list[str], param: str = "", root: str = "") -> Path:
    """Let the train net read a list of these files, with these labels in turn."""
    source = case.home / "list.txt"
    for name, content in images.items():
        (case.home / name).write_bytes(content)
    lines = [f"{'' if root else f'{case.home}/'}{name} {labels[n % len(labels)]}" for n, name in enumerate(images)]
    source.write_text("\n".join(lines) + "\n")
    data = f'source: "{source}" batch_size: 4 is_color: false {param} root_folder: "{root}"'
    text = re.sub(r"data_param \{[^}]*batch_size: 8[^}]*\}", f"image_data_param {{ {data} }}", case.net.read_text())
    case.net.write_text(text.replace('type: "Data"', 'type: "ImageData"', 1))
    return source


def pictures(count: int = 6) -> dict[str, bytes]:
    return {f"{n}.png": encoded("png") for n in range(count)}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["2.7272", "1"], "the fraction of 3 of 6 labels is lost (the first: line 1, '2.7272', is read as 2)"),
        (["1", "0.5", "-.5"], "the fraction of 4 of 6 labels is lost (the first: line 2, '0.5', is read as 0)"),
        (["1", "1e0"], "the fraction of 3 of 6 labels is lost (the first: line 2, '1e0', is read as 1)"),
        (["1", "cat"], "3 of 6 labels are no whole number (the first: line 2, 'cat', is read as 0)"),
        (["nan", "3x"], "6 of 6 labels are no whole number (the first: line 1, 'nan', is read as 0)"),
        (["2", "2.0", "+3", "4.\r"], ""),
    ],
)
def test_labels_of_a_list_that_caffe_reads_in_part_are_a_warning(case: Case, labels: list[str], said: str) -> None:
    source = reads_list(case, pictures(), labels)
    warning = case.warnings()
    assert warning.count("warning: ") == bool(said)
    assert not said or f"warning: {source}: {said}" in warning


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("3.png", b"<html>not found</html>", "22 bytes that begin b'<html>not fo', which cannot be decoded"),
        ("3.png", b"", "an encoded image of zero bytes"),
        ("3.gif", b"GIF89a" + bytes(40), "GIF, which Caffe cannot decode"),
        ("3.png", encoded("png")[:-60], "PNG of"),
    ],
    ids=["text", "no bytes", "gif", "half"],
)
def test_a_listed_file_that_is_no_image(case: Case, name: str, data: bytes, said: str) -> None:
    source = reads_list(case, pictures() | {name: data}, ["1"], root=f"{case.home}/")
    case.refused(
        f"image_data_param.source = {source}: 1 of the images that were looked at cannot be used: record {name}: {said}"
    )


def test_images_and_masks_of_one_list_are_looked_at_in_their_own_folders(case: Case) -> None:
    """Two layers read one list below two folders, whose images have other sizes."""
    for folder, size in (("images", 2 * SIDE), ("masks", SIDE // 2)):
        (case.home / folder).mkdir()
        for name in pictures():
            (case.home / folder / name).write_bytes(encoded("png", size=size))
    reads_list(case, pictures(), ["1"], root=f"{case.home}/images/")
    masks = f'source: "{case.home}/list.txt" root_folder: "{case.home}/masks/" batch_size: 4 is_color: false'
    layer = 'layer { name: "masks" type: "ImageData" top: "mask" top: "unused" include { phase: TRAIN }'
    case.net.write_text(f"{case.net.read_text()}\n{layer} image_data_param {{ {masks} }} }}\n")
    assert not case.warnings()
    case.edit(case.net, f"{case.home}/images/", f"{case.home}/masks/")
    case.refused("crop_size = 10: larger than an image", f"{SIDE // 2}×{SIDE // 2}")


def test_listed_images_of_several_sizes(case: Case) -> None:
    case.net.write_text(case.net.read_text().replace("crop_size: 10", "").replace("mirror: true", ""))
    reads_list(case, pictures() | {"4.png": encoded("png", size=14)}, ["1"])
    case.refused("4.png", "1×14×14", "1×12×12", "must have one shape")
    case.edit(case.net, "is_color: false", "is_color: false new_height: 12 new_width: 12")
    assert not case.warnings()


def test_images_in_groups_of_a_size_behind_a_random_start(case: Case) -> None:
    """With rand_skip, the groups may be the batches."""
    case.net.write_text(case.net.read_text().replace("crop_size: 10", "").replace("mirror: true", ""))
    groups = {f"{number}.png": encoded("png", size=14 if 2 <= number < 6 else 12) for number in range(10)}
    reads_list(case, groups, ["1"], "rand_skip: 4")
    assert not case.warnings()
    case.edit(case.net, "rand_skip: 4", "")
    case.refused("2.png", "must have one shape")
    case.edit(case.net, "is_color: false", "is_color: false rand_skip: 4")
    (case.home / "5.png").write_bytes(groups["0.png"])
    case.refused("2.png", "must have one shape")


def test_listed_images_of_16_bits_that_become_nearly_black_are_a_warning(case: Case) -> None:
    random = np.random.default_rng(2)

    def scan(largest: int) -> bytes:
        pixels = random.integers(0, largest + 1, (12, 12)).astype(np.uint16)
        return cv2.imencode(".png", pixels)[1].tobytes()

    scans = {"1.png": scan(4095), "4.png": scan(4095)}
    source = reads_list(case, pictures() | scans, ["1"])
    said = case.warnings()
    assert f"warning: {source}: 2 of 6 images that were looked at are nearly black for Caffe" in said
    assert "1.png" in said
    assert "at most 15 of 255. Scale them to 8 bits" in said
    for name in scans:
        (case.home / name).write_bytes(scan(65535))
    assert not case.warnings()


@pytest.mark.parametrize("shuffle", ["false", "true"])
def test_the_listed_file_at_which_caffe_dies_is_named(
    case: Case, shuffle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed_images, "_MOST", 1)  # as if the list were long
    source = reads_list(case, pictures(60) | {"41.png": b"no picture"}, ["1"], f"shuffle: {shuffle}")
    code, said = case.run()
    assert code in (2, 4)
    assert f"{source}: record {case.home}/41.png: no such file, or not an image" in said
    assert "layer data reads it at iteration " in said
    if shuffle == "false":
        assert "layer data reads it at iteration 10" in said
