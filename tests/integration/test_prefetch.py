"""The seekable layer gives the batches of Caffe's own Data layer byte for byte, from any record on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import caffe
import cv2
import lmdb
import numpy as np
import psutil
import pytest
from google.protobuf import text_format

from harness.caffe_files.messages import pb
from harness.caffe_files.transformer_rng import draws_per_image, mt19937
from harness.prefetch.client import PrefetchClient
from harness.schemas.stream import Jump, Stream
from harness.worker import seekable_layer as seekable
from harness.worker.seekable_nets import replace_data_layers
from tests.helpers.batches import SEED, forwards, take
from tests.helpers.processes import PATIENCE, has_ended, started, wait_for

RECORDS, BATCH = 11, 4  # 4 does not divide 11: batches wrap around
HEIGHT, WIDTH = 21, 26


def picture(channels: int, number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """An image that is smooth enough for JPEG: uint8 (height, width, channels)."""
    coarse = np.random.default_rng(number).integers(0, 256, (5, 5, channels), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


def datum(kind: str, image: np.ndarray, label: int) -> Any:
    """A Datum: `kind` is "jpg", "png", "raw" or "float"."""
    height, width, channels = image.shape
    if kind in ("jpg", "png"):
        return pb.Datum(encoded=True, label=label, data=cv2.imencode(f".{kind}", image)[1].tobytes())
    planes = image.transpose(2, 0, 1)
    shape = {"channels": channels, "height": height, "width": width, "label": label}
    if kind == "raw":
        return pb.Datum(**shape, data=planes.tobytes())
    return pb.Datum(**shape, float_data=(planes.ravel() / np.float32(7)).tolist())


def write(path: Path, values: list[bytes]) -> Path:
    path.mkdir(parents=True)
    with lmdb.open(str(path), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
        for number, value in enumerate(values):
            transaction.put(key(number), value)
    return path


def key(number: int) -> bytes:
    return f"{number:08d}_img{number}.x".encode()


def net_text(source: Path, transform: str, batch: int, phase: str) -> str:
    return f"""layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: {phase} }}
      transform_param {{ {transform} }} data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }} }}"""


def stream_of(source: Path, transform: str, batch: int, phase: str, records: int, start: int) -> Stream:
    """The stream of that net's Data layer from batch `start` on, after `caffe.set_random_seed(SEED)`."""
    per_image = draws_per_image(text_format.Parse(transform, pb.TransformationParameter()), phase)
    return Stream(
        layer="data",
        source=str(source),
        first_key=key(start * batch % records).hex(),
        batch_size=batch,
        phase=phase,
        transform=transform,
        seed=int(mt19937(SEED, 1).random_raw()) if per_image else None,  # the second output: that of the prefetcher
        draws=start * batch * per_image,
        labels=True,
        prefetch=3,
    )


@pytest.fixture(autouse=True)
def _no_workers_left() -> Iterator[None]:
    yield
    seekable.stop_prefetching()


def compare(home: Path, source: Path, transform: str, phase: str, *, records: int = RECORDS, **sizes: int) -> None:
    """Compare a native Data layer with a replaced one that starts at batch `start`, over more than two epochs."""
    batch, start = sizes.get("batch", BATCH), sizes.get("start", 2)
    text = net_text(source, transform, batch, phase)
    native, other = home / "native.prototxt", home / "seekable.prototxt"
    native.write_text(text)
    count = 2 * records // batch + 2
    caffe.set_random_seed(SEED)
    wanted = forwards(native, phase, start + count)[start:]
    stream = stream_of(source, transform, batch, phase, records, start)
    net = replace_data_layers(text_format.Parse(text, pb.NetParameter()), {0: stream})
    assert net.layer[0].type == "Python"
    other.write_text(text_format.MessageToString(net))
    found = forwards(other, phase, count)
    for number, pair in enumerate(zip(wanted, found, strict=True)):
        for a, b in zip(*pair, strict=True):
            assert a.shape == b.shape, number
            assert a.tobytes() == b.tobytes(), number


def mean_file(home: Path, channels: int, legacy: bool) -> str:
    values = np.random.default_rng(5).uniform(0, 200, (channels, HEIGHT, WIDTH)).astype(np.float32)
    blob = pb.BlobProto(data=values.ravel().tolist())
    if legacy:
        blob.num, blob.channels, blob.height, blob.width = 1, channels, HEIGHT, WIDTH
    else:
        blob.shape.dim.extend((1, channels, HEIGHT, WIDTH))
    (home / "mean.binaryproto").write_bytes(blob.SerializeToString())
    return f'mean_file: "{home / "mean.binaryproto"}"'


MEANS = {
    "none": "",
    "one": "mean_value: 117.3",
    "each": "mean_value: 104.1 mean_value: 117.2 mean_value: 123.9",
    "legacy": None,
    "shape": None,
}


KINDS = ("jpg", "png", "raw", "float")
PLACES = ("", "mirror: true", "crop_size: 16 scale: 0.0078431")


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("channels", "mean"), [(c, m) for c in (1, 3) for m in MEANS if (c, m) != (1, "each")])
def test_the_bytes_equal_those_of_caffes_own_layer(
    tmp_path: Path, phase: str, kind: str, channels: int, mean: str
) -> None:
    """Each with all random transformations, and with one of three that draw less."""
    values = [datum(kind, picture(channels, n), n % 5).SerializeToString() for n in range(RECORDS)]
    source = write(tmp_path / "db", values)
    subtract = MEANS[mean]
    if subtract is None:
        subtract = mean_file(tmp_path, channels, mean == "legacy")
    less = PLACES[(KINDS.index(kind) + list(MEANS).index(mean) + channels) % 3]
    for place in ("mirror: true crop_size: 16 scale: 0.5371", less):
        compare(tmp_path, source, f"{place} {subtract}", phase)


@pytest.mark.parametrize("kind", ["jpg", "png"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("force", ["force_color", "force_gray"])
def test_images_forced_to_colour_or_grey_equal_caffes(tmp_path: Path, kind: str, channels: int, force: str) -> None:
    values = [datum(kind, picture(channels, n), n).SerializeToString() for n in range(RECORDS)]
    source = write(tmp_path / "db", values)
    compare(tmp_path, source, f"{force}: true mirror: true crop_size: 17 mean_value: 99.5", "TRAIN")


def test_images_of_many_sizes_equal_caffes(tmp_path: Path) -> None:
    values = [datum("jpg", picture(3, n, 8 + 5 * n, 90 - 7 * n), n).SerializeToString() for n in range(RECORDS)]
    source = write(tmp_path / "db", values)
    compare(tmp_path, source, "mirror: true", "TRAIN", batch=1, start=3)


def test_a_batch_larger_than_the_data_equals_caffes(tmp_path: Path) -> None:
    values = [datum("png", picture(3, n), n).SerializeToString() for n in range(3)]
    compare(tmp_path, write(tmp_path / "db", values), "crop_size: 9", "TRAIN", batch=7, start=5, records=3)


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.fixture
def feeds() -> Iterator[list[PrefetchClient]]:
    opened: list[PrefetchClient] = []
    yield opened
    for feed in opened:
        feed.close()


def start(
    home: Path, values: list[bytes], transform: str, feeds: list[PrefetchClient], batch: int = 2
) -> PrefetchClient:
    source = write(home / "db", values)
    feeds.append(PrefetchClient(stream_of(source, transform, batch, "TRAIN", len(values), 0)))
    return feeds[-1]


def deep_png() -> bytes:
    deep = (picture(3, 1).astype(np.uint16)) * 200
    return pb.Datum(encoded=True, data=cv2.imencode(".png", deep)[1].tobytes()).SerializeToString()


BAD = {
    "not an image": pb.Datum(encoded=True, data=b"\xff\xd8 no").SerializeToString(),
    "empty": pb.Datum(encoded=True).SerializeToString(),
    "16 bits": deep_png(),
    "small": datum("png", picture(3, 1, 15, 40), 0).SerializeToString(),
    "grey": datum("png", picture(1, 1), 0).SerializeToString(),
    "not a datum": b"\xff" * 20,
    "short": pb.Datum(channels=3, height=HEIGHT, width=WIDTH, data=b"abc").SerializeToString(),
    "cut": datum("jpg", picture(3, 1, 200, 200), 0).SerializeToString()[:-900],
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_record_is_named_at_its_batch(tmp_path: Path, feeds: list[PrefetchClient], what: str) -> None:
    values = [datum("png", picture(3, n), n).SerializeToString() for n in range(6)]
    values[3] = BAD[what]
    feed = start(tmp_path, values, "crop_size: 16", feeds)
    feed.next()
    with pytest.raises(RuntimeError, match=r"^layer data: record 00000003_img3\.x: "):
        feed.next()


def test_a_bad_record_is_an_exception_of_the_net(tmp_path: Path) -> None:
    values = [datum("png", picture(3, n), n).SerializeToString() for n in range(6)]
    values[4] = BAD["cut"]
    stream = stream_of(write(tmp_path / "db", values), "", 2, "TRAIN", 6, 0)
    text = text_format.Parse(net_text(tmp_path / "db", "", 2, "TRAIN"), pb.NetParameter())
    net_file = tmp_path / "net.prototxt"
    net_file.write_text(text_format.MessageToString(replace_data_layers(text, {0: stream})))
    net = caffe.Net(str(net_file), caffe.TRAIN)
    net.forward()
    net.forward()
    with pytest.raises(RuntimeError, match=r"layer data: record 00000004_img4\.x: "):
        net.forward()


def test_only_layers_with_a_stream_are_replaced(tmp_path: Path) -> None:
    rest = 'layer { name: "data" type: "Data" top: "x" } layer { name: "n" type: "ReLU" bottom: "x" top: "x" }'
    net = text_format.Parse(net_text(tmp_path, "mirror: true", 2, "TRAIN") + rest, pb.NetParameter())
    stream = stream_of(tmp_path, "", 2, "TRAIN", 6, 0)
    before = net.SerializeToString()
    made = replace_data_layers(net, {0: stream})
    assert net.SerializeToString() == before
    assert [layer.type for layer in made.layer] == ["Python", "Data", "ReLU"]
    first = made.layer[0]
    assert (first.name, list(first.top), list(first.include)) == (
        "data",
        ["data", "label"],
        [pb.NetStateRule(phase=pb.TRAIN)],
    )
    assert not first.HasField("data_param")
    assert not first.HasField("transform_param")
    assert Stream.from_json(first.python_param.param_str) == stream
    assert replace_data_layers(net, {}) == net


def test_a_missing_first_key_is_named(tmp_path: Path, feeds: list[PrefetchClient]) -> None:
    source = write(tmp_path / "db", [datum("png", picture(3, 0), 0).SerializeToString()])
    feeds.append(PrefetchClient(replace(stream_of(source, "", 1, "TRAIN", 1, 0), first_key=b"absent".hex())))
    with pytest.raises(RuntimeError, match=r"layer data: .*absent"):
        feeds[-1].next()


def test_a_killed_process_is_an_error_not_a_hang(tmp_path: Path, feeds: list[PrefetchClient]) -> None:
    feed = start(tmp_path, [datum("png", picture(3, n), n).SerializeToString() for n in range(6)], "", feeds)
    take(feed, 1)
    os.kill(feed.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"^layer data: the process that reads .*/db was killed \(SIGKILL\)"):
        take(feed, 9)  # batches that were ready are still given
    with pytest.raises(RuntimeError, match="SIGKILL"):
        feed.next()


def test_a_batch_is_valid_until_the_next_call(tmp_path: Path, feeds: list[PrefetchClient]) -> None:
    feed = start(tmp_path, [datum("raw", picture(1, n), n).SerializeToString() for n in range(7)], "", feeds)
    wanted = [np.stack([picture(1, (2 * b + i) % 7)[None, ..., 0] for i in range(2)]) for b in range(20)]
    for images in wanted:
        assert feed.peek() == images.shape
        given, _ = feed.next()
        time.sleep(0.005)  # the worker fills all that it may
        assert np.array_equal(given, images)


def test_a_jump_skips_records(tmp_path: Path, feeds: list[PrefetchClient]) -> None:
    values = [datum("png", picture(3, n), n).SerializeToString() for n in range(RECORDS)]
    whole = start(tmp_path, values, "mirror: true crop_size: 16", feeds, batch=BATCH)
    beyond = whole.stream.draws + 7 * BATCH * 3
    jump = Jump(after=4, key=key(7 * BATCH % RECORDS).hex(), draws=beyond)
    feeds.append(PrefetchClient(replace(whole.stream, jump=jump)))
    batches = take(whole, 12)
    for wanted, found in zip(batches[:4] + batches[7:], take(feeds[-1], 9), strict=True):
        assert [a.tobytes() for a in wanted] == [a.tobytes() for a in found]


def test_closing_ends_the_process(tmp_path: Path, feeds: list[PrefetchClient]) -> None:
    feed = start(tmp_path, [datum("png", picture(3, n), n).SerializeToString() for n in range(6)], "", feeds)
    feed.close()
    assert not psutil.pid_exists(feed.pid)
    with pytest.raises(RuntimeError, match="prefetch process was stopped"):
        feed.next()
    feed.close()


CLIENT = """
import sys, time
from harness.worker import seekable_layer as seekable
from harness.prefetch.client import PrefetchClient
from harness.schemas.stream import Stream
feed = PrefetchClient(Stream.from_json(sys.argv[1]))
feed.next()
print(feed.pid, flush=True)
time.sleep(100)
"""


def test_no_process_outlives_its_worker(tmp_path: Path) -> None:
    source = write(tmp_path / "db", [datum("png", picture(3, n), n).SerializeToString() for n in range(6)])
    stream = stream_of(source, "", 2, "TRAIN", 6, 0)
    with started(sys.executable, "-c", CLIENT, stream.to_json(), stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        process = psutil.Process(int(client.stdout.readline()))
        assert os.getsid(process.pid) != os.getsid(client.pid)  # the terminal's Ctrl-C does not reach it
        client.send_signal(signal.SIGKILL)
        client.wait(PATIENCE)
        wait_for(lambda: has_ended(process))
