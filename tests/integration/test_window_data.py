"""WindowData layers are reproduced: the windows that they sample, their pixels, and training that resumes with them.

The oracles are Caffe's own WindowData layer and `caffe train` without interruption.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import caffe
import cv2
import numpy as np
import pytest
from google.protobuf import text_format

from harness.caffe_files.messages import pb
from harness.caffe_files.transformer_rng import draws_per_image, mt19937
from harness.caffe_files.window_file import check_windows, open_window_file
from harness.errors import BadInput
from harness.recording import Recording
from harness.schemas.data_position import StreamPosition
from harness.schemas.stream import Stream, Windows
from harness.supervisor.options import Options
from harness.supervisor.plan import make_plan
from harness.supervisor.resume import from_weights
from harness.supervisor.training_spec import read_training_spec
from harness.worker import seekable_layer as seekable
from harness.worker.seekable_nets import replace_data_layers
from tests.helpers.batches import SEED, forwards
from tests.helpers.caffe_output import said_from, weights_of
from tests.helpers.commands import caffe_train, restart, train
from tests.helpers.nets import solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")

LAST = 20


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with images of different sizes and `windows.txt`; many windows touch the borders of their image."""
    home = tmp_path_factory.mktemp("windows")
    random = np.random.default_rng(1)
    lines = []
    for number in range(9):
        height, width = (int(size) for size in random.integers(25, 70, 2))
        image = cv2.GaussianBlur(random.integers(0, 256, (height, width, 3)).astype(np.uint8), (5, 5), 0)
        name = f"image{number}.{'png' if number % 2 else 'jpg'}"
        (home / name).write_bytes(cv2.imencode(name[-4:], image)[1].tobytes())
        boxes = []
        for kind in range(12):
            x1, x2 = sorted(int(x) for x in random.choice(width, 2, replace=False))
            y1, y2 = sorted(int(y) for y in random.choice(height, 2, replace=False))
            boxes.append(f"{1 + kind % 4} {kind / 12:.3f} {x1} {y1} {x2} {y2}")
        lines.append(f"# {number}\n{name}\n3\n{height}\n{width}\n{len(boxes)}\n" + "\n".join(boxes))
    (home / "windows.txt").write_text("\n".join(lines) + "\n")
    mean = pb.BlobProto(data=random.uniform(0, 255, 3 * 40 * 40), shape=pb.BlobShape(dim=(1, 3, 40, 40)))
    (home / "mean.binaryproto").write_bytes(mean.SerializeToString())
    return home


def window_layer(home: Path, phase: str, param: str, transform: str, batch: int = 7) -> str:
    transform = transform.replace("HOME", str(home))
    return f"""layer {{ name: "data" type: "WindowData" top: "data" top: "label" include {{ phase: {phase} }}
      transform_param {{ {transform} }} window_data_param {{ source: "{home}/windows.txt" root_folder: "{home}/"
      batch_size: {batch} {param} }} }}
"""


def stream_of(text: str, phase: str, start: int) -> Stream:
    """The stream of that layer from batch `start` on, after `caffe.set_random_seed(SEED)`."""
    layer = text_format.Parse(text, pb.NetParameter()).layer[0]
    param, random = layer.window_data_param, mt19937(SEED, 0)
    place = StreamPosition(0, "data", param.source, "", param.batch_size, 1 + layer.transform_param.mirror,
                           draws_its_seed_first=not draws_per_image(layer.transform_param, phase))  # fmt: skip
    place = place.seeded(lambda: int(random.random_raw())).after(start)
    transform = text_format.MessageToString(layer.transform_param)
    return Stream("data", param.source, place.records, param.batch_size, phase, transform, place.seed, place.draws,
                  True, 3, files=Windows(text_format.MessageToString(param)))  # fmt: skip


@pytest.fixture(autouse=True)
def _no_workers_left() -> Iterator[None]:
    yield
    seekable.stop_prefetching()


LAYERS = {
    "plain": ("", "crop_size: 23"),
    "mirror, scale": ("scale: 0.0078431 fg_fraction: 0.5", "crop_size: 24 mirror: true mean_value: 99.5"),
    "context": ("context_pad: 4", "crop_size: 32 mirror: true"),
    "square": ('crop_mode: "square" fg_threshold: 0.7 bg_threshold: 0.4', "crop_size: 19 mirror: true"),
    "square, context, mean": (
        'crop_mode: "square" context_pad: 3 cache_images: true scale: 0.01',
        'crop_size: 31 mirror: true mean_file: "HOME/mean.binaryproto"',
    ),
    "one mean a channel": (
        "context_pad: 2 fg_fraction: 0.9",
        "crop_size: 15 mean_value: 3 mean_value: 5 mean_value: 7",
    ),
}


@pytest.mark.parametrize(
    ("name", "phase"), [*((name, "TRAIN") for name in LAYERS), ("plain", "TEST"), ("context", "TEST")]
)
def test_the_bytes_equal_those_of_caffes_own_layer(tmp_path: Path, windows: Path, name: str, phase: str) -> None:
    text = window_layer(windows, phase, *LAYERS[name])
    native, other = tmp_path / "native.prototxt", tmp_path / "seekable.prototxt"
    native.write_text(text)
    start, count = 5, 30
    caffe.set_random_seed(SEED)
    wanted = forwards(native, phase, start + count)[start:]
    net = replace_data_layers(text_format.Parse(text, pb.NetParameter()), {0: stream_of(text, phase, start)})
    assert net.layer[0].type == "Python"
    other.write_text(text_format.MessageToString(net))
    for number, pair in enumerate(zip(wanted, forwards(other, phase, count), strict=True)):
        assert [a.tobytes() for a in pair[0]] == [a.tobytes() for a in pair[1]], number


# -- trainings --------------------------------------------------------------------------------------------------------

NET = """
layer { name: "drop" type: "Dropout" bottom: "data" top: "data" dropout_param { dropout_ratio: 0.2 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def write_solver(home: Path, windows: Path, **fields: object) -> Path:
    param = "scale: 0.01 context_pad: 2"
    layers = window_layer(windows, "TRAIN", param, "crop_size: 12 mirror: true mean_value: 100")
    tests = window_layer(windows, "TEST", param, "crop_size: 12", 5)
    (home / "net.prototxt").write_text(layers + tests + NET)
    values: dict[str, Any] = {"max_iter": LAST, "snapshot": 8, "display": 1, "test_iter": 2, "test_interval": 5}
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "native", **values | fields))
    return home / "solver.prototxt"


def test_resumes_and_restarts_are_exact(tmp_path: Path, windows: Path) -> None:
    solver = write_solver(tmp_path, windows, iter_size=2)
    native = caffe_train(solver)
    name = f"native_iter_{LAST}.caffemodel"
    expected = weights_of(tmp_path / name)
    train(solver, tmp_path / "run", "--watch", "10:14")
    assert weights_of(tmp_path / "run/snapshots" / name) == expected
    train(solver, tmp_path / "caffes", "--resume", tmp_path / "native_iter_8.solverstate")
    restart(tmp_path / "caffes", "--from", 16, "--out", tmp_path / "snapshot")
    restart(tmp_path / "run", "--from", 12, "--out", tmp_path / "window")
    for run, first in {"caffes": 8, "snapshot": 16, "window": 12}.items():
        assert json.loads((tmp_path / run / "run.json").read_text())["not_exact"] == [], run
        assert weights_of(tmp_path / run / "snapshots" / name) == expected, run
        assert said_from((tmp_path / run / "solver.log").read_text(), first) == said_from(native, first), run
    restart(tmp_path / "run", "--from", 8, "--skip", "9:11", "--watch", "10:11", "--out", tmp_path / "skipped")
    with Recording(tmp_path / "run") as whole, Recording(tmp_path / "skipped") as skipped:
        assert np.array_equal(whole.input(12, "data"), skipped.input(10, "data"))


BAD = {
    "nothing": ("", "a file without windows"),
    "no mark": ("image0.jpg 3 30 30 0", "in place of the # and the six values before image 0"),
    "cut short": ("# 0 image0.jpg 3 30 30 2 1 0.9 0 0 5 5 1 0.1 0", "image 0 has 1.5 windows, and says 2"),
    "words": ("# 0 image0.jpg 3 30 30 1 1 0.9 a b c d", "something else than numbers"),
    "halves": ("# 0 image0.jpg 3 30 30 1 1 0.9 0 0 5.5 5", "pixels that are not whole numbers"),
    "too large": (
        "# 0 image0.jpg 3 30 30 1 1 0.9 0 0 99999999999999999999 5",
        "not finite, or larger than 2,147,483,647",
    ),
    "grey": ("# 0 image0.jpg 1 30 30 1 1 0.9 0 0 5 5", "images of other than 3 channels"),
    "an image number": ("# 1 image0.jpg 3 30 30 1 1 0.9 0 0 5 5", "the image numbers 1…1, but 1 images"),
    "no background": ("# 0 image0.jpg 3 30 30 1 1 0.9 0 0 5 5", "no background window"),
    "class 0": ("# 0 image0.jpg 3 30 30 2 0 0.9 0 0 5 5 0 0.1 0 0 5 5", "a foreground window of class 0 or less"),
    "no image": ("# 0 gone.jpg 3 30 30 2 1 0.9 0 0 5 5 0 0.1 0 0 5 5", "no such image: number 0"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_bad_window_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    source = tmp_path / "windows.txt"
    source.write_text(text)
    with pytest.raises(BadInput, match=message):
        check_windows(open_window_file(source, "net"), pb.WindowDataParameter(root_folder=f"{tmp_path}/"), "net")


def _mean(*shape: int) -> bytes:
    return pb.BlobProto(data=[1.0] * int(np.prod(shape)), shape=pb.BlobShape(dim=shape)).SerializeToString()


@pytest.mark.parametrize(
    ("file", "content", "transform", "message"),
    [
        ("", b"", "crop_size: 12", ""),
        ("mean.binaryproto", _mean(1, 3, 12, 12), 'crop_size: 12 mean_file: "HOME/mean.binaryproto"', ""),
        ("mean.binaryproto", _mean(1, 3, 10, 10), 'crop_size: 12 mean_file: "HOME/mean.binaryproto"',
         "the mean is 3×10×10, and windows are 3×12×12"),
        ("mean.binaryproto", _mean(1, 3, 12, 20), 'crop_size: 12 mean_file: "HOME/mean.binaryproto"', "3×12×20"),
        ("mean.binaryproto", _mean(1, 1, 40, 40), 'crop_size: 12 mean_file: "HOME/mean.binaryproto"', "1×40×40"),
        ("", b"", "crop_size: 12 mean_value: 1 mean_value: 2", "2 values, and windows have 3 channels"),
        ("image5.png", b"no picture", "crop_size: 12", "record image5.png: 10 bytes that begin b'no picture'"),
        ("windows.txt", b"", "crop_size: 12", "1 of 54 labels lie outside 0…4, .* window 11, class 5"),
    ],
)  # fmt: skip
def test_windows_that_do_not_fit_their_net_are_refused(
    tmp_path: Path, windows: Path, file: str, content: bytes, transform: str, message: str
) -> None:
    home = tmp_path / "windows"
    shutil.copytree(windows, home)
    if file == "windows.txt":
        text = (home / file).read_text()
        content = text.replace("\n4 0.917 ", "\n5 0.917 ", 1).encode()
        assert content != text.encode()
    if file:
        (home / file).write_bytes(content)
    solver = write_solver(tmp_path, home, test_iter=None, test_interval=None)
    net = window_layer(home, "TRAIN", "", transform) + NET
    (tmp_path / "net.prototxt").write_text(net)
    spec = read_training_spec(solver)
    with pytest.raises(BadInput, match=message) if message else nullcontext():
        make_plan(spec, from_weights(None, spec.solver), Options(out=tmp_path / "run", cpu=True))
