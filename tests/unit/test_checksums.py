"""A recording whose bytes have changed gives its own numbers or an error, never other numbers."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from harness.recording import Recording, RecordingError
from harness.recording.consumer import Consumer
from harness.recording.ring import Kind, Ring
from harness.recording.writer import Writer
from harness.schemas.layout import ACTIVATION_STATS, Alarm
from harness.schemas.window import Window
from tests.helpers.recordings import fill_ring, layout_of
from tools.campaigns.contents import Contents, contents, silently_wrong

ATTRIBUTES = {
    "heads": '[{"name": "loss1/loss1", "weight": 1.0, "classes": 3}]',
    "net": 'name: "n"' * 500,
    "relus": "[]",
}
FLIPS = 400


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed recording with a window, test passes, activations and alarms."""
    path = tmp_path_factory.mktemp("recorded") / "recording.h5"
    ring = Ring.create(1 << 20)
    fill_ring(ring.fd, layout_of(2, Window(5, 7)).encode(), 20)
    for t in (0, 10):
        ring.put(Kind.TEST, np.full(1, t / 3, np.float32), iteration=t, index=0)
        ring.put(Kind.ACTIVATION, np.full((1, len(ACTIVATION_STATS)), t / 7), iteration=t)
    consumer = Consumer(ring, lambda plan: Writer.create(path, plan, ATTRIBUTES))
    consumer.drain()
    assert consumer.writer is not None
    consumer.writer.append_alarms([Alarm(7, "loss_jump", "loss", 15.5, 8.25)])
    consumer.writer.close()
    return path


@pytest.fixture(scope="module")
def original(recorded: Path) -> Contents:
    with Recording(recorded) as run:
        found = contents(run)
    assert [name for name, value in found.items() if isinstance(value, RecordingError)] == [
        "keys 5", "input 5 data", "keys 6", "input 6 data"  # not recorded
    ]  # fmt: skip
    return found


def test_everything_is_covered(recorded: Path) -> None:
    with h5py.File(recorded) as file:
        grown = []
        file.visititems(lambda name, node: grown.append(name) if getattr(node, "maxshape", (1,))[0] is None else None)
        covered = [name for name in grown if "checksum_column" in file[name].attrs]
        assert set(grown) - set(covered) == {
            "alarm", "checksum", "activation/checksum", "test/0/checksum", "window/checksum"
        }  # fmt: skip
        assert "checksum" in file["alarm"].dtype.names
        assert all("checksum" in file[name].attrs for name in ("/", "param", "blob", "input"))


def test_no_flipped_bit_goes_unnoticed(recorded: Path, original: Contents, tmp_path: Path) -> None:
    raw = recorded.read_bytes()
    path = tmp_path / "recording.h5"
    chosen = random.Random(1)
    used = [at for at in range(0, len(raw) - 64, 64) if any(raw[at : at + 64])]  # half of the file is reserved
    unnoticed = {}
    for _ in range(FLIPS):
        at, bit = chosen.choice(used) + chosen.randrange(64), chosen.randrange(8)
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :])
        try:
            with Recording(path) as run:
                wrong = silently_wrong(contents(run), original)
        except RecordingError:
            continue
        if wrong:
            unnoticed[at, bit] = wrong
    assert unnoticed == {}


@pytest.mark.parametrize(
    "name",
    [
        "loss",
        "stat/gradient_l2",
        "input_stat/maximum",
        "output/prob",
        "window/weight/conv0/3x3/0",
        "test/0/output/loss",
    ],
)
def test_a_changed_number_is_named_and_the_others_are_read(recorded: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(recorded, tmp_path)
    with h5py.File(tmp_path / "recording.h5", "r+") as file:
        file[name][1] += 1
    with Recording(tmp_path) as run:
        found = contents(run)
        errors = {
            str(value) for value in found.values() if isinstance(value, RecordingError) and "damaged" in str(value)
        }
        assert len(errors) == 1
        (message,) = errors
        assert f"/{name}" in message
        assert "at iteration " in message
        if name == "loss":
            assert len(run.series("loss", slice(2, None))) == 18
            assert len(run.stat("gradient_l2").values) == 20


def test_rows_that_changed_places_are_noticed(recorded: Path, tmp_path: Path) -> None:
    shutil.copy(recorded, tmp_path)
    with h5py.File(tmp_path / "recording.h5", "r+") as file:
        for name in ("stat/weight_l2", "checksum"):
            file[name][3:5] = file[name][3:5][::-1]
    with Recording(tmp_path) as run, pytest.raises(RecordingError, match=r"/stat/weight_l2 at iteration 3 and 1 more"):
        run.stat("weight_l2")


@pytest.mark.parametrize("name", ["heads", "net", "closed"])
@pytest.mark.parametrize("value", [None, 5])
def test_a_missing_or_other_attribute_is_noticed(recorded: Path, tmp_path: Path, name: str, value: int | None) -> None:
    copy = tmp_path / "recording.h5"
    shutil.copy(recorded, copy)
    with h5py.File(copy, "r+") as file:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value
    with Recording(copy) as run, pytest.raises(RecordingError, match="the attributes: damaged"):
        _ = run.attributes


@pytest.mark.parametrize("group", ["output", "test/0/output"])
def test_a_missing_output_is_noticed(recorded: Path, tmp_path: Path, group: str) -> None:
    copy = tmp_path / "recording.h5"
    shutil.copy(recorded, copy)
    with h5py.File(copy, "r+") as file:
        del file[group][next(iter(file[group]))]
    with pytest.raises(RecordingError, match=f"/{group} lacks outputs: 1"):
        Recording(copy)
