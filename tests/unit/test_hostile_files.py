"""Run directories from strangers: nothing outside them is read as theirs, written, or allocated without limit."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import msgspec
import numpy as np
import pytest
import xxhash

from harness.caffe_files.caffemodel import read_caffemodel, read_solverstate
from harness.errors import BadInput
from harness.prefetch.row_order import RowReader
from harness.recording import Recording, RecordingError
from harness.recording.consumer import Consumer
from harness.recording.journal import Journal, journal_of
from harness.recording.ring import Ring
from harness.recording.run_directory import read_info, write_info
from harness.recording.snapshots import damaged_in, iterations_of
from harness.recording.writer import Writer
from harness.schemas.data_position import RowOrder, RowsPosition
from harness.schemas.run_info import SnapshotInfo, TrainingSetup
from harness.schemas.window import Window
from tests.helpers.processes import command
from tests.helpers.recordings import fill_ring, layout_of
from tests.helpers.run_infos import run_info


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the same recording twice: closed, and as a killed writer leaves it."""
    home = tmp_path_factory.mktemp("recorded")
    ring = Ring.create(1 << 20)
    fill_ring(ring.fd, layout_of(2, Window(5, 7)).encode(), 20)
    consumer = Consumer(ring, lambda plan: Writer.create(home / "closed.h5", plan, {"heads": "[]", "solver": ""}))
    consumer.drain()
    shutil.copy(home / "closed.h5", home / "open.h5")
    assert consumer.writer is not None
    consumer.writer.close()
    return home


def link_softly(file: h5py.File, victim: Path) -> None:
    del file["loss"]
    file["loss"] = h5py.SoftLink("/lr")


def link_to_another_file(file: h5py.File, victim: Path) -> None:
    del file["stat"]
    file["stat"] = h5py.ExternalLink(str(victim), "/stat")


def store_elsewhere(file: h5py.File, victim: Path) -> None:
    del file["loss"]
    file.create_dataset("loss", (20,), "<f8", external=[(str(victim), 0, h5py.h5f.UNLIMITED)], maxshape=(None,))


def be_virtual(file: h5py.File, victim: Path) -> None:
    layout = h5py.VirtualLayout((20,), "<f8", maxshape=(None,))
    layout[:] = h5py.VirtualSource(str(victim), "loss", (20,))
    del file["loss"]
    file.create_virtual_dataset("loss", layout)


def contain_itself(file: h5py.File, victim: Path) -> None:
    file["output/again"] = file["output"]


def name_a_dataset_twice(file: h5py.File, victim: Path) -> None:
    del file["lr"]
    file["lr"] = file["loss"]


def need_a_plugin(file: h5py.File, victim: Path) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((20,))
    plist.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple((20,), (h5py.h5s.UNLIMITED,))
    del file["loss"]
    h5py.h5d.create(file.id, b"loss", h5py.h5t.IEEE_F64LE, space, plist)


def claim_far_too_much(file: h5py.File, victim: Path) -> None:
    for name in (
        "iteration",
        "lr",
        "loss",
        "smoothed_loss",
        "seconds",
        "digest",
        "output",
        "stat",
        "input_stat",
        "checksum",
    ):
        for dataset in [file[name]] if isinstance(file[name], h5py.Dataset) else datasets_in(file[name]):
            dataset.resize(1 << 60 if dataset.ndim == 1 else 1 << 50, axis=0)


def claim_a_wide_window(file: h5py.File, victim: Path) -> None:
    del file["window/weight/conv0/3x3/0"]
    dataset = file.create_dataset(
        "window/weight/conv0/3x3/0", (2, 1 << 40), "<f4", maxshape=(None, 1 << 40), chunks=(1, 1)
    )
    dataset.attrs["name"] = "conv0/3x3/0"


def hold_a_type(file: h5py.File, victim: Path) -> None:
    file["output/type"] = np.dtype("<f4")


def hold_references(file: h5py.File, victim: Path) -> None:
    file["more"] = np.array([file["loss"].ref], h5py.ref_dtype)


def have_another_type(file: h5py.File, victim: Path) -> None:
    del file["loss"]
    file.create_dataset("loss", (20,), "S9", maxshape=(None,))


def have_another_shape(file: h5py.File, victim: Path) -> None:
    del file["stat/weight_l2"]
    file.create_dataset("stat/weight_l2", (20, 5), "<f8", maxshape=(None, 5))


def lack_a_dataset(file: h5py.File, victim: Path) -> None:
    del file["param"]


def have_a_list_as_attribute(file: h5py.File, victim: Path) -> None:
    file.attrs["format_version"] = np.arange(5)


def datasets_in(group: h5py.Group) -> list[h5py.Dataset]:
    found: list[h5py.Dataset] = []
    group.visititems(lambda _, node: found.append(node) if isinstance(node, h5py.Dataset) else None)
    return found


CRAFTED = [
    (link_softly, "refused: /loss is a link"),
    (link_to_another_file, "refused: /stat is a link"),
    (store_elsewhere, "refused: the values of /loss are in another file"),
    (be_virtual, "refused: the values of /loss are in another file"),
    (contain_itself, "refused: /output/again is a second link"),
    (name_a_dataset_twice, "is a second link to an object"),
    (need_a_plugin, "refused: /loss needs a plugin"),
    (claim_far_too_much, r"damaged: /\S+ claims [\d,]+ bytes, and [\d,]+ are there"),
    (claim_a_wide_window, r"damaged: /\S+ claims [\d,]+ bytes, and [\d,]+ are there"),
    (hold_a_type, "refused: /output/type is neither a group nor a dataset"),
    (hold_references, "refused: /more holds neither numbers nor text"),
    (have_another_type, r"damaged: /loss has type \|S9"),
    (have_another_shape, "damaged: /stat/weight_l2 has 5 columns, /param 2 rows"),
    (lack_a_dataset, "damaged: it has no dataset /param"),
    (have_a_list_as_attribute, "attribute format_version is neither text nor a number"),
]


@pytest.mark.parametrize("killed", [False, True], ids=["closed", "killed"])
@pytest.mark.parametrize(("craft", "message"), CRAFTED, ids=[craft.__name__ for craft, _ in CRAFTED])
def test_a_crafted_recording_is_refused_and_nothing_is_written(
    recorded: Path, tmp_path: Path, craft: Callable[[h5py.File, Path], None], message: str, killed: bool
) -> None:
    victim, path = tmp_path / "victim.h5", tmp_path / "run/recording.h5"
    path.parent.mkdir()
    shutil.copy(recorded / "closed.h5", victim)
    shutil.copy(recorded / "closed.h5", path)
    with h5py.File(path, "r+", libver="latest") as file:
        craft(file, victim)
        if killed:  # marked as open for writing: a reader wants to repair it
            file.swmr_mode = True
            file.flush()
            shutil.copy(path, path.with_name("crafted"))
    if killed:
        path.with_name("crafted").replace(path)
    before = [file.read_bytes() for file in (victim, path)]
    with pytest.raises(RecordingError, match=message):
        Recording(path)
    assert [file.read_bytes() for file in (victim, path)] == before


def test_a_killed_recording_is_not_repaired_through_a_link(recorded: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim.h5"
    shutil.copy(recorded / "open.h5", victim)
    before = victim.read_bytes()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/recording.h5").symlink_to(victim)
    with Recording(tmp_path / "run") as recording:
        assert len(recording.iterations) == 20
    assert victim.read_bytes() == before


def test_directories_that_this_user_may_not_read(recorded: Path, tmp_path: Path) -> None:
    root = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    run = tmp_path / "run"
    (run / "snapshots").mkdir(parents=True)
    shutil.copy(recorded / "open.h5", run / "recording.h5")
    look = "import sys; from harness.recording import Recording; print(len(Recording(sys.argv[1]).iterations))"
    for closed, said in ((run / "snapshots", "20"), (run, f"{run}: permission denied. Give yourself read access")):
        closed.chmod(0)
        try:
            done = command(*root, sys.executable, "-c", look, run)
        finally:
            closed.chmod(0o755)
        assert said in done.stdout + done.stderr


def test_snapshots_are_not_completed_through_a_link(recorded: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/notes").write_text("mine")
    run = tmp_path / "run"
    (run / "snapshots").mkdir(parents=True)
    (run / "snapshots/.writing").symlink_to(tmp_path / "precious")
    shutil.copy(recorded / "open.h5", run / "recording.h5")
    with Recording(run) as recording:
        assert len(recording.iterations) == 20
    assert (tmp_path / "precious/notes").read_text() == "mine"


@pytest.mark.parametrize(
    "journal",
    [
        Journal([], 1 << 50, None),
        Journal([(-4096, b"x")], 4096, None),
        Journal([(1 << 40, b"x")], 4096, None),
        {"pages": 5},
        5,
    ],
    ids=["huge", "before the file", "beyond the file", "no pages", "number"],
)
def test_a_crafted_journal_is_refused(recorded: Path, tmp_path: Path, journal: object) -> None:
    shutil.copy(recorded / "closed.h5", tmp_path / "recording.h5")
    content = msgspec.msgpack.encode(journal)
    journal_of(tmp_path / "recording.h5").write_bytes(xxhash.xxh3_64_digest(content) + content)
    before = (tmp_path / "recording.h5").read_bytes()
    with pytest.raises(RecordingError, match=r"\.recording\.h5\.journal: damaged\. Remove it"):
        Recording(tmp_path)
    assert (tmp_path / "recording.h5").read_bytes() == before


def snapshot_json(**fields: object) -> str:
    setup = {name: getattr(run_info(), name) for name in TrainingSetup.__struct_fields__}
    info = SnapshotInfo(
        **setup, iteration=25, weight_digest="0" * 16, caffemodel="a.caffemodel", solverstate="a.solverstate"
    )
    return json.dumps(msgspec.to_builtins(info) | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"caffemodel": "../../other.caffemodel"},
        {"solverstate": "/etc/passwd"},
        {"caffemodel": ".."},
        {"iteration": -1},
        {"iteration": 10**30},
        {"weight_digest": "none"},
        {"solver": "\0"},
        {"net": "\ud800"},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_a_bad_snapshot_does_not_hide_the_others(tmp_path: Path, fields: dict[str, object]) -> None:
    (tmp_path / "good.json").write_text(snapshot_json())
    (tmp_path / "bad.json").write_text(snapshot_json(**fields))
    assert iterations_of(tmp_path) == {25: tmp_path / "good.json"}
    (remark,) = damaged_in(tmp_path)
    assert remark.startswith(f"Left out: {tmp_path / 'bad.json'}: damaged (")
    assert remark.endswith("The other snapshots can be used")


def test_metadata_that_is_no_ordinary_file_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    os.mkfifo(path)
    with pytest.raises(BadInput, match=r"run\.json: damaged \(it is not a file\)"):
        read_info(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(BadInput, match=r"run\.json: damaged \(it is not a file\)"):
        read_info(tmp_path)
    path.rmdir()
    with path.open("wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(BadInput, match=r"run\.json: damaged \(it is larger than 128 MiB\)"):
        read_info(tmp_path)


def test_a_place_in_a_net_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write_info(tmp_path, run_info())
    content = json.loads((tmp_path / "run.json").read_text())
    place = {"net": 3, "layer": "data", "source": "x", "fingerprint": "", "batch_size": 1, "image_draws": 0}
    content["point"]["places"] = [place]
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match="layer data is in net 3, which is not among test_nets"):
        read_info(tmp_path)


@pytest.mark.parametrize(
    "order",
    [
        RowOrder((0, 0), 0, bytes(12), 0),  # one file twice
        RowOrder((1, 0), 2, bytes(12), 0),
        RowOrder((1, 0), 0, bytes(12), 3),
        RowOrder((1, 0), 0, bytes(8), 0),  # of two rows
    ],
)
def test_an_order_of_rows_that_cannot_be_is_refused(order: RowOrder) -> None:
    told = msgspec.to_builtins(RowsPosition(0, 0, "labels", "list", "", 4, (5, 3), True))
    assert msgspec.convert(told, RowsPosition).order is None
    with pytest.raises(msgspec.ValidationError, match="layer labels: not an order of its rows"):
        msgspec.convert(told | {"order": msgspec.to_builtins(order)}, RowsPosition)
    with pytest.raises(ValueError, match="missing or there twice"):
        RowReader((3,), None, RowOrder((0,), 0, bytes(12), 0), 0)


@pytest.mark.parametrize("name", ["x.caffemodel", "x.solverstate"])
def test_a_binary_file_that_cannot_be_one_is_refused_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    read = read_caffemodel if name == "x.caffemodel" else read_solverstate
    os.mkfifo(path)
    with pytest.raises(BadInput, match=f"{name}: a directory or a device, not a "):
        read(path)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(1 << 36)
    with pytest.raises(BadInput, match=f"{name}: not a .* larger than 2 GiB"):
        read(path)
