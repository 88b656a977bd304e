"""Parts of the recording: windows, names, the ring, the rows of the writer, the errors of the reader."""

from __future__ import annotations

import itertools
import math
import shutil
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.recording import BadInput, Recording, RecordingError, Window
from harness.recording.consumer import Consumer
from harness.recording.repair import repair
from harness.recording.ring import Kind, Message, Ring
from harness.recording.superblock import is_marked_open, lookup3
from harness.recording.writer import Writer
from harness.schemas.layout import (
    Alarm,
    Layout,
    link_names,
)
from harness.schemas.window import clip, merge, parse_watch
from tests.helpers.recordings import fill_ring, layout_of

numbers = st.integers(0, 10**7)
windows = st.lists(st.tuples(numbers, st.integers(1, 50)).map(lambda w: Window(w[0], w[0] + w[1])), max_size=8)


# -- windows ----------------------------------------------------------------------------------------------------------


@given(numbers, st.integers(1, 10**6))
def test_a_window_survives_its_text(start: int, size: int) -> None:
    window = Window(start, start + size)
    assert parse_watch(str(window)) == window
    assert len(window) == size
    assert start in window
    assert start + size not in window


@given(st.text(max_size=12) | st.from_regex(r"[-+ 0-9:.]{0,8}", fullmatch=True))
def test_a_wrong_window_is_refused_with_its_value(text: str) -> None:
    with suppress(BadInput):
        window = parse_watch(text)
        assert 0 <= window.start < window.stop
        assert [int(part) for part in text.split(":")] == [window.start, window.stop]
        return
    with pytest.raises(BadInput, match="--watch A:B") as refusal:
        parse_watch(text)
    assert refusal.value.value == text


@given(windows)
def test_merging_keeps_every_iteration_and_nothing_else(parts: list[Window]) -> None:
    merged = merge(parts)
    assert {t for w in merged for t in range(w.start, w.stop)} == {t for w in parts for t in range(w.start, w.stop)}
    assert all(a.stop < b.start for a, b in itertools.pairwise(merged))


@given(windows, numbers, st.integers(0, 100))
def test_clipping_keeps_the_iterations_inside(parts: list[Window], start: int, size: int) -> None:
    inside = {t for w in clip(parts, start, start + size) for t in range(w.start, w.stop)}
    assert inside == {t for w in parts for t in range(w.start, w.stop) if start <= t < start + size}


# -- names ------------------------------------------------------------------------------------------------------------

names = st.sets(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6) | st.from_regex(r"[a%/.]{0,5}", fullmatch=True),
    max_size=8,
)


@settings(deadline=None)
@given(names)
def test_any_names_fit_in_one_group(names: set[str]) -> None:
    paths = link_names(names)
    assert len(set(paths.values())) == len(names)
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        for name, path in paths.items():
            file.create_dataset(f"group/{path}", data=0).attrs["name"] = name
        for name, path in paths.items():
            assert file[f"group/{path}"].attrs["name"] == name


def test_a_name_with_slashes_is_a_path() -> None:
    assert link_names(["loss1/loss1", "data"]) == {"loss1/loss1": "loss1/loss1", "data": "data"}
    assert link_names(["loss1", "loss1/loss1"]) == {"loss1": "loss1", "loss1/loss1": "loss1%2Floss1"}


# -- ring and file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [layout_of(), layout_of(5, Window(3, 9))])
def test_a_layout_survives_its_json(layout: Layout) -> None:
    assert Layout.decode(layout.encode()) == layout


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_a_layout_keeps_infinite_multipliers(value: float) -> None:
    layout = layout_of(2)
    wild = replace(layout, params=(replace(layout.params[0], lr_mult=value), *layout.params[1:]))
    assert Layout.decode(wild.encode()) == wild


@given(st.lists(st.integers(0, 900), min_size=1, max_size=60), st.integers(1, 8))
def test_the_ring_returns_messages_in_order(sizes: list[int], batch: int) -> None:
    ring = Ring.create(4096)
    out: list[bytes] = []
    for start in range(0, len(sizes), batch):
        for number, size in enumerate(sizes[start : start + batch], start):
            payload = bytes([number % 251]) * size
            while not ring.put(Kind.NOTE, payload, iteration=number, alive=lambda: False):
                out += [bytes(m.payload) for m in ring.messages()]
                ring.release()
    out += [bytes(m.payload) for m in ring.messages()]
    assert out == [bytes([n % 251]) * size for n, size in enumerate(sizes)]


def test_a_message_larger_than_the_ring_is_refused() -> None:
    ring = Ring.create(4096)
    with pytest.raises(ValueError, match="does not fit"):
        ring.put(Kind.NOTE, bytes(4000))
    assert ring.put(Kind.NOTE, bytes(ring.max_payload))


def test_a_drain_request_lasts_until_everything_is_read() -> None:
    reader = Ring.create(4096)
    writer = Ring(reader.fd)
    writer.put(Kind.NOTE, b"{}")
    assert not reader.drain_requested
    writer.request_drain()
    assert reader.drain_requested
    assert [m.kind for m in reader.messages()] == [Kind.NOTE]
    assert not reader.drain_requested
    writer.put(Kind.NOTE, b"{}")
    assert not reader.drain_requested  # it went on


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recording of 20 frames in two states: closed, and as left by a killed writer."""
    home = tmp_path_factory.mktemp("twins")
    ring = Ring.create(1 << 20)
    fill_ring(ring.fd, layout_of(2, Window(5, 7)).encode(), 20)
    consumer = Consumer(ring, lambda plan: Writer.create(home / "closed.h5", plan, {"heads": "[]"}))
    consumer.drain()
    shutil.copy(home / "closed.h5", home / "open.h5")
    assert consumer.writer is not None
    consumer.writer.close()
    return home / "closed.h5", home / "open.h5"


@pytest.fixture
def written(tmp_path: Path, twins: tuple[Path, Path]) -> Path:
    """A recording that was never closed."""
    return Path(shutil.copy(twins[1], tmp_path / "recording.h5"))


@pytest.fixture(scope="module")
def whole(twins: tuple[Path, Path]) -> bytes:
    """The bytes of a closed recording."""
    return twins[0].read_bytes()


def test_the_file_of_a_dead_writer_is_repaired_when_it_is_opened(written: Path) -> None:
    assert is_marked_open(written)
    with pytest.raises(OSError, match=r"already open for write|consistency"):
        h5py.File(written)
    with Recording(written) as recording:
        assert len(recording.iterations) == 20
    with h5py.File(written) as file:
        assert file["iteration"].shape == (20,)


def test_rows_of_unequal_length_are_cut_to_the_complete_ones(written: Path) -> None:
    repair(written)
    with h5py.File(written, "r+", libver="latest") as file:
        file["loss"].resize(22, axis=0)
        file["stat/weight_l2"].resize(19, axis=0)
        file["window/weight/conv0/3x3/0"].resize(3, axis=0)
        file.swmr_mode = True
        file.flush()
        shutil.copy(written, written.with_name("cut.h5"))
    repair(written.with_name("cut.h5"))
    with h5py.File(written.with_name("cut.h5")) as file:
        assert {file[name].shape[0] for name in ("iteration", "loss", "lr", "stat/weight_l2", "output/prob")} == {19}
        assert file["window/weight/conv0/3x3/0"].shape[0] == 2


MESSAGES = 6 * 3 + 1  # of an iteration: three parts of each of six arrays, and the frame


@pytest.mark.parametrize("cut", [16 * MESSAGES - 1, 16 * MESSAGES, 20 * MESSAGES, 20 * MESSAGES + 7])
def test_a_window_is_continued_where_its_writer_was_killed(tmp_path: Path, cut: int) -> None:
    """Its arrays are small: several iterations share a chunk, and the writer was in the middle of one."""
    window = Window(0, 40)
    layout = layout_of(2, window)
    source, ring = Ring.create(1 << 20), Ring.create(1 << 20)
    fill_ring(source.fd, layout.encode(), len(window))
    messages = list(source.messages())[1:-1]
    assert len(messages) == len(window) * MESSAGES

    def put(some: list[Message]) -> None:
        for m in some:
            ring.put(m.kind, bytes(m.payload), iteration=m.iteration, index=m.index, start=m.start)

    killed = Consumer(ring, lambda layout: Writer.create(tmp_path / "killed.h5", layout, {"heads": "[]"}))
    ring.put(Kind.LAYOUT, layout.encode())
    put(messages[: cut // 2])
    killed.drain()
    put(messages[cut // 2 : cut])
    killed.drain()
    path = Path(shutil.copy(tmp_path / "killed.h5", tmp_path / "recording.h5"))
    successor = Consumer(ring, lambda layout: Writer.take_over(path, layout))
    successor.writer = Writer.take_over(path, layout)
    put(messages[cut:])
    successor.drain()
    successor.writer.close()
    with h5py.File(path) as file:
        assert file["window/weight/conv0/3x3/0"].chunks[0] > 1
        assert file["window/weight/conv0/3x3/0"].shape[0] == len(window)
    with Recording(tmp_path) as recording:
        assert recording.windows == (window,)
        for t in range(len(window)):
            for number, kind in enumerate((recording.weight, recording.gradient, recording.update)):
                for index in (0, 1):
                    rows = np.arange(3, dtype=np.float32)[:, None] + np.float32(t + (2 * number + index) / 10)
                    assert np.allclose(kind(t, f"conv{index}/3x3", 0), np.broadcast_to(rows, (3, 4)))


def test_the_checksum_is_hdf5s_own(written: Path) -> None:
    raw = written.read_bytes()[:48]
    assert struct.unpack("<L", raw[44:])[0] == lookup3(raw[:44])


@settings(deadline=None, max_examples=60)
@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_a_recording_error(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    path = tmp_path_factory.mktemp("cut") / "recording.h5"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(RecordingError, match=r"truncated or damaged|not a recording"):
        Recording(path)


def test_refusals_give_the_reason(tmp_path: Path, written: Path) -> None:
    with pytest.raises(RecordingError, match="no such recording"):
        Recording(tmp_path / "nowhere")
    (tmp_path / "text.h5").write_text("not HDF5" * 50)
    with pytest.raises(RecordingError, match="not a recording"):
        Recording(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w", libver="latest") as file:
        file["x"] = 1
    with pytest.raises(RecordingError, match="not a recording"):
        Recording(tmp_path / "other.h5")
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(RecordingError, match="not a recording"):
        Recording(tmp_path / "old.h5")
    repair(written)
    with h5py.File(written, "r+", libver="latest") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(RecordingError, match=r"format 2, and this harness reads up to format 1. Update the harness"):
        Recording(written)


def test_alarms_are_read_as_they_were_raised(tmp_path: Path) -> None:
    """A subject longer than its field is cut between two characters, not within one."""
    long = "activation ünï" + "é" * 200
    alarms = [Alarm(7, "loss_jump", "loss", 15.5, 8.25), Alarm(9, "dead_relu", long, 1.0, 0.999)]
    writer = Writer.create(tmp_path / "recording.h5", layout_of(), {})
    writer.append_alarms(alarms)
    writer.close()
    with Recording(tmp_path) as recording:
        assert recording.alarms[0] == alarms[0]
        assert long.startswith(recording.alarms[1].subject)
        assert len(recording.alarms[1].subject) > 100


def test_labelled_arrays_have_names_and_labels(written: Path) -> None:
    with Recording(written) as recording:
        norms = recording.stat("weight_l2")
        assert norms.dims == ("iteration", "param")
        assert norms.labels == ("conv0/3x3/0", "conv1/3x3/0")
        assert np.asarray(norms).shape == (20, 2)
        assert "iterations 0…19" in repr(recording)


def test_every_array_of_a_window_is_attached_to_its_scales(tmp_path: Path) -> None:
    """Also where there are so many that the references of the scales are taken away in between."""
    layout = layout_of(200, Window(0, 2))
    Writer.create(tmp_path / "recording.h5", layout, {}).close()
    with h5py.File(tmp_path / "recording.h5") as file:
        references = {name: file[name].attrs["REFERENCE_LIST"] for name in ("window/iteration", "axis/3", "axis/4")}
        for kind in ("weight", "gradient", "update"):
            for number in (0, 85, 86, 199):
                dataset = file[f"window/{kind}/conv{number}/3x3/0"]
                assert [dataset.dims[axis][0].name for axis in range(3)] == ["/window/iteration", "/axis/3", "/axis/4"]
                assert all(h5py.h5ds.is_attached(dataset.id, file[name].id, n) for n, name in enumerate(references))
        assert [len(references[name]) for name in ("axis/3", "axis/4")] == [3 * 200 + 1, 3 * 200]  # 3: an output
        assert len(references["window/iteration"]) == 3 * 200 + 1  # and the checksums
