"""ImageData layers are reproduced: their order, their pixels, and training that resumes with them.

The oracles are Caffe's own ImageData layer and `caffe train` without interruption.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import caffe
import cv2
import msgspec
import numpy as np
import pytest
from google.protobuf import text_format

from harness.caffe_files.messages import pb
from harness.caffe_files.transformer_rng import draws_per_image, mt19937
from harness.prefetch.client import PrefetchClient
from harness.prefetch.epochs import Epochs
from harness.recording import Recording
from harness.schemas.data_position import StreamPosition
from harness.schemas.stream import Files, Jump, Stream
from harness.worker import seekable_layer as seekable
from harness.worker.seekable_nets import replace_data_layers
from tests.helpers.batches import SEED, forwards, take
from tests.helpers.caffe_output import said_from, weights_of
from tests.helpers.commands import caffe_train, restart, train
from tests.helpers.lmdbs import CLASSES, digits
from tests.helpers.nets import small_net, solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")

IMAGES, LAST = 41, 24  # 41 images: every batch size wraps within a batch


def turned(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG with an EXIF header that states its orientation."""
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00" + bytes([orientation]) + b"\x00\x00"
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01" + entry + b"\x00\x00\x00\x00"
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `train.txt` and `test.txt`: JPEG (each third rotated) and PNG, in a folder with a space."""
    home = tmp_path_factory.mktemp("images")
    (home / "a b").mkdir()
    for name, seed in (("train", 1), ("test", 2)):
        lines = []
        for number, (image, label) in enumerate(zip(*digits(IMAGES, seed), strict=True)):
            colour = np.stack([image[0], image[0][::-1], 255 - image[0]], axis=-1)
            kind = "png" if number % 2 else "jpg"
            data = cv2.imencode(f".{kind}", colour)[1].tobytes()
            path = f"a b/{name}{number}.{kind}"
            (home / path).write_bytes(turned(data, 1 + number % 8) if number % 6 == 0 else data)
            lines.append(f"{path} {label}")
        (home / f"{name}.txt").write_text("\n".join(lines))  # no newline at its end
    return home


# -- the layer by itself ----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_workers_left() -> Iterator[None]:
    yield
    seekable.stop_prefetching()


def image_layer(home: Path, phase: str, batch: int, transform: str, param: str) -> str:
    name = "train" if phase == "TRAIN" else "test"
    return f"""layer {{ name: "data" type: "ImageData" top: "data" top: "label" include {{ phase: {phase} }}
      transform_param {{ {transform} }} image_data_param {{ source: "{home / name}.txt" root_folder: "{home}/"
      batch_size: {batch} {param} }} }}"""


def stream_of(text: str, phase: str, start: int) -> Stream:
    """The stream of that layer from batch `start` on, after `caffe.set_random_seed(SEED)`."""
    layer = text_format.Parse(text, pb.NetParameter()).layer[0]
    param = layer.image_data_param
    per_image = draws_per_image(layer.transform_param, phase)
    random = mt19937(SEED, 0)
    place = StreamPosition(0, "data", param.source, "", param.batch_size, per_image,
                  shuffle=param.shuffle, rand_skip=param.rand_skip)  # fmt: skip
    place = place.seeded(lambda: int(random.random_raw())).after(start)
    files = Files(param.root_folder, param.is_color, param.new_height, param.new_width, param.shuffle)
    transform = text_format.MessageToString(layer.transform_param)
    stream = Stream("data", param.source, place.records, param.batch_size, phase, transform, None, place.draws, True, 3,
                    files=files)  # fmt: skip
    return stream.seeded(place.seed, place.list_seed, place.skipped or 0)


SHUFFLED = "shuffle: true"
LAYERS = {
    "as written": ("", "", 5),
    "shuffled": (SHUFFLED, "", 5),
    "shuffled, mirror, crop": (SHUFFLED, "mirror: true crop_size: 9 mean_value: 99.5", 5),
    "shuffled, skip": (f"{SHUFFLED} rand_skip: 30", "mirror: true", 7),
    "skip": ("rand_skip: 41", "crop_size: 10 scale: 0.0078431", 4),
    "grey": (f"{SHUFFLED} is_color: false", "mirror: true", 5),
    "larger": (f"{SHUFFLED} new_height: 31 new_width: 23", "crop_size: 20", 5),
    "smaller, grey": ("is_color: false new_height: 7 new_width: 9 rand_skip: 3", "mirror: true crop_size: 6", 5),
    "half": (f"{SHUFFLED} new_height: 6 new_width: 6", "mean_value: 1 mean_value: 2 mean_value: 3", 5),
    "a batch of more than an epoch": (SHUFFLED, "mirror: true", 100),
}


@pytest.mark.parametrize(
    ("name", "phase"), [*((name, "TRAIN") for name in LAYERS), ("shuffled, mirror, crop", "TEST"), ("skip", "TEST")]
)
def test_the_bytes_equal_those_of_caffes_own_layer(tmp_path: Path, images: Path, name: str, phase: str) -> None:
    param, transform, batch = LAYERS[name]
    text = image_layer(images, phase, batch, transform, param)
    native, other = tmp_path / "native.prototxt", tmp_path / "seekable.prototxt"
    native.write_text(text)
    start, count = 11, 3 * IMAGES // batch + 2
    caffe.set_random_seed(SEED)
    wanted = forwards(native, phase, start + count)[start:]
    net = replace_data_layers(text_format.Parse(text, pb.NetParameter()), {0: stream_of(text, phase, start)})
    assert net.layer[0].type == "Python"
    other.write_text(text_format.MessageToString(net))
    for number, pair in enumerate(zip(wanted, forwards(other, phase, count), strict=True)):
        assert [a.tobytes() for a in pair[0]] == [a.tobytes() for a in pair[1]], number


def test_a_long_list_is_shuffled_as_by_caffe(tmp_path: Path, images: Path) -> None:
    """Long enough for numbers that boost rejects: from the first of them on every swap would be another. Each line has
    its number as its label."""
    path = images / "a b/train1.png"
    (tmp_path / "train.txt").write_text("".join(f"{path} {n}\n" for n in range(200_000)))
    text = image_layer(tmp_path, "TRAIN", 50, "", SHUFFLED).replace(f'root_folder: "{tmp_path}/"', "")
    net = tmp_path / "net.prototxt"
    net.write_text(text)
    caffe.set_random_seed(SEED)
    native = np.concatenate([labels for _, labels in forwards(net, "TRAIN", 4)])
    list_seed = int(mt19937(SEED, 0).random_raw())  # the first output: without mirror and crop no other is drawn
    assert np.array_equal(native, Epochs(200_000, list_seed).lines(np.arange(len(native))))


def test_a_jump_skips_lines(images: Path) -> None:
    text = image_layer(images, "TRAIN", 5, "mirror: true", f"{SHUFFLED} rand_skip: 9")
    whole = stream_of(text, "TRAIN", 3)
    beyond = stream_of(text, "TRAIN", 20)
    feeds = [PrefetchClient(whole), PrefetchClient(replace(whole, jump=Jump(4, beyond.first_key, beyond.draws)))]
    batches, found = take(feeds[0], 25), take(feeds[1], 12)
    for feed in feeds:
        feed.close()
    for wanted, given in zip(batches[:4] + batches[17:], found, strict=True):
        assert [a.tobytes() for a in wanted] == [a.tobytes() for a in given]


def test_a_missing_image_is_named(tmp_path: Path, images: Path) -> None:
    (tmp_path / "train.txt").write_text(f"{images}/a b/train1.png 1\nnone.jpg 2\n")
    stream = stream_of(image_layer(tmp_path, "TRAIN", 2, "", ""), "TRAIN", 0)
    assert isinstance(stream.files, Files)
    feed = PrefetchClient(replace(stream, files=msgspec.structs.replace(stream.files, root="")))
    with pytest.raises(RuntimeError, match=r"layer data: record none\.jpg: no such file"):
        feed.next()
    feed.close()


# -- trainings --------------------------------------------------------------------------------------------------------

CASES: dict[str, dict[str, Any]] = {
    "shuffled, mirror, crop": {"param": SHUFFLED, "transform": "mirror: true crop_size: 10", "from": (1, 20)},
    "as written, skip, grey, resized": {
        "param": "rand_skip: 30 is_color: false new_height: 14 new_width: 13", "transform": "crop_size: 10"},
    "shuffled, skip, iter_size": {
        "param": f"{SHUFFLED} rand_skip: 40", "transform": "mirror: true", "solver": {"iter_size": 2}},
}  # fmt: skip


def write_case(home: Path, images: Path, case: dict[str, Any], **fields: object) -> Path:
    """`home/solver.prototxt` for a case; its snapshots are called `home/native…`. A test net reads another list."""
    body = small_net(home).partition('layer { name: "conv1/3x3"')
    transform = f"scale: 0.0078125 {case['transform']}"
    layers = (image_layer(images, p, n, transform, case["param"]) for p, n in (("TRAIN", 6), ("TEST", 7)))
    (home / "net.prototxt").write_text("\n".join([*layers, *body[1:]]))
    values = (
        {"test_iter": 3, "test_interval": 5, "max_iter": LAST, "snapshot": 1, "display": 1}
        | case.get("solver", {})
        | fields
    )
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "native", **values))
    return home / "solver.prototxt"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_snapshot_of_caffe_train_resumes_exactly(tmp_path: Path, images: Path, case: dict[str, Any]) -> None:
    solver = write_case(tmp_path, images, case)
    native = caffe_train(solver)
    for iteration in case.get("from", (17,)):
        out = tmp_path / f"from{iteration}"
        state = tmp_path / f"native_iter_{iteration}.solverstate"
        done = train(solver, out, "--resume", state)
        assert f"Resuming at iteration {iteration} exactly" in done.stderr.replace("\n", " ")
        name = f"native_iter_{LAST}.caffemodel"
        assert weights_of(out / "snapshots" / name) == weights_of(tmp_path / name)
        assert said_from((out / "solver.log").read_text(), iteration) == said_from(native, iteration)


def test_resumes_of_resumes_repeat_the_run_and_its_images(tmp_path: Path, images: Path) -> None:
    solver = write_case(tmp_path, images, CASES["shuffled, skip, iter_size"], snapshot=7)
    caffe_train(solver)
    window = ("--watch", "18:20")
    state = tmp_path / "native_iter_7.solverstate"
    for until in (15, LAST):
        out = tmp_path / f"until{until}"
        train(solver, out, "--resume", state, "--until", until, *window)
        state = out / f"snapshots/native_iter_{until}.solverstate"
    name = f"native_iter_{LAST}.caffemodel"
    assert weights_of(out / "snapshots" / name) == weights_of(tmp_path / name)
    places = json.loads((out / f"snapshots/native_iter_{LAST}.json").read_text())["point"]["places"]
    assert all(place["list_seed"] is not None and place["skipped"] is not None for place in places)
    with Recording(out) as part:
        for t in (18, 19):
            for key, image in zip(part.keys(t), part.input(t, "data").reshape(-1, 3, 12, 12), strict=True):
                colour = cv2.imread(str(images / key.decode()))
                assert colour is not None
                pixels = colour.transpose(2, 0, 1) * np.float32(0.0078125)
                assert np.array_equal(image, pixels) or np.array_equal(image, pixels[:, :, ::-1])


def test_iterations_can_be_skipped_and_a_changed_list_is_refused(tmp_path: Path, images: Path) -> None:
    """A run that continues one of Caffe finds its seeds, and its list must not have changed."""
    own = tmp_path / "list.txt"
    own.write_bytes((images / "train.txt").read_bytes())
    solver = write_case(tmp_path, images, CASES["shuffled, mirror, crop"], snapshot=10)
    net = tmp_path / "net.prototxt"
    net.write_text(net.read_text().replace(str(images / "train.txt"), str(own)))
    train(solver, tmp_path / "run", "--watch", "17:18")
    restart(tmp_path / "run", "--from", 10, "--skip", "12:15", "--watch", "14:15", "--out", tmp_path / "skipped")
    with Recording(tmp_path / "run") as run, Recording(tmp_path / "skipped") as skipped:
        assert run.keys(17) == skipped.keys(14)
        assert np.array_equal(run.input(17, "data"), skipped.input(14, "data"))
    own.write_bytes(own.read_bytes().replace(b" 3", b" 4", 1))
    state = tmp_path / "run/snapshots/native_iter_10.solverstate"
    done = train(solver, tmp_path / "refused", "--resume", state, code=2)
    assert "the list has changed" in done.stderr.replace("\n", " ")


BAD = {
    "an empty list": ("", "", "an empty list of images"),
    "no image": ("nowhere.jpg 1\n", "", "no such image: line 1 of"),
    "a label": (f"a b/train1.png {CLASSES}\n", "", "labels lie outside"),
    "half a size": ("a b/train1.png 1\n", "new_height: 9", "only together"),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_bad_input_is_found_beforehand(tmp_path: Path, images: Path, bad: tuple[str, str, str]) -> None:
    text, param, message = bad
    solver = write_case(tmp_path, images, {"param": param, "transform": ""})
    (tmp_path / "list.txt").write_text(text)
    net = tmp_path / "net.prototxt"
    net.write_text(net.read_text().replace(str(images / "train.txt"), str(tmp_path / "list.txt")))
    done = train(solver, tmp_path / "run", code=2)
    assert message in " ".join(done.stderr.split())
