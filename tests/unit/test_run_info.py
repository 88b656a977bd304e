"""run.json and the JSON beside a snapshot: written and read through one class each, with clear errors."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import pytest

from harness.errors import BadInput
from harness.recording import run_directory
from harness.recording.run_directory import attributes, read_info, write_info
from harness.recording.snapshots import finish_snapshots, iterations_of, note_health, read_snapshot, remove
from harness.schemas.layout import Head
from harness.schemas.onset import Onset
from harness.schemas.run_info import Change, Ended, Parent, SnapshotHealth, SnapshotInfo, TrainingSetup
from tests.helpers.run_infos import run_info


def change_file(path: Path, **fields: object) -> None:
    """Change fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    info = run_info(
        heads=(Head("loss", 1.0, 10),),
        parent=Parent("runs/first", 25, "as asked for", (Change("solver", "base_lr", "0.01", "0.001"),)),
        ended=Ended(code=0, how="Done", onset=Onset(7, "loss 1 → 9", "data"), iteration=60, last_loss=math.inf),
    )
    write_info(tmp_path, info)
    assert read_info(tmp_path) == info


def test_a_loss_that_is_nan_is_kept(tmp_path: Path) -> None:
    write_info(tmp_path, run_info(ended=Ended(code=0, how="Done", last_loss=math.nan)))
    ended = read_info(tmp_path).ended
    assert ended is not None
    assert ended.last_loss is not None
    assert math.isnan(ended.last_loss)


def test_alarms_are_complete_only_if_the_supervisor_wrote_the_end() -> None:
    assert Ended(code=0, how="Done", onset=None).has_alarms
    assert not Ended(how="the supervisor died").has_alarms


def test_a_file_without_a_version_is_one_of_0_1_0(tmp_path: Path) -> None:
    write_info(tmp_path, run_info())
    content = json.loads((tmp_path / "run.json").read_text())
    del content["format_version"]
    (tmp_path / "run.json").write_text(json.dumps(content))
    assert read_info(tmp_path) == run_info()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"run\.json: damaged \(Expecting property name"),
        (b"\xff\xfe", r"run\.json: damaged \("),
        (b"[]", r"run\.json: damaged \(Expected `object`, got `array`\)"),
        (b"[" * 100_000, r"run\.json: damaged \("),
        (b'{"solver": ""}', r"run\.json: damaged \(Object missing required field `net`\)"),
    ],
    ids=["cut", "not text", "no object", "too deep", "field missing"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(BadInput, match=message):
        read_info(tmp_path)


def test_a_field_of_another_type_is_named(tmp_path: Path) -> None:
    write_info(tmp_path, run_info())
    change_file(tmp_path / "run.json", first="25")
    with pytest.raises(BadInput, match=r"damaged \(Expected `int`, got `str` - at `\$\.first`\)"):
        read_info(tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"run\.json: cannot be read \(No such file"):
        read_info(tmp_path)


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    write_info(tmp_path, run_info())
    change_file(tmp_path / "run.json", format_version=2)
    with pytest.raises(BadInput, match=r"run\.json: format_version = 2: written by a newer caffe-harness"):
        read_info(tmp_path)


def test_attributes_are_numbers_text_or_json() -> None:
    found = attributes(run_info(heads=(Head("loss", 1.0, None),)))
    assert found["random_seed"] == 1
    assert found["mode"] == "CPU"
    assert json.loads(str(found["heads"])) == [{"name": "loss", "weight": 1.0, "classes": None}]
    assert found["parent"] == "null"


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """The JSON beside a snapshot of iteration 25, and the files that it names."""
    setup = {name: getattr(run_info(), name) for name in TrainingSetup.__struct_fields__}
    info = SnapshotInfo(
        **setup, iteration=25, weight_digest="0" * 16, caffemodel="a.caffemodel", solverstate="a.solverstate"
    )
    for name in (info.caffemodel, info.solverstate):
        (tmp_path / name).touch()
    (tmp_path / "a.json").write_bytes(msgspec.json.encode(info))
    return tmp_path / "a.json"


def test_health_is_added_beside_a_snapshot(snapshot: Path) -> None:
    health = SnapshotHealth(30, Onset(28, "loss 1 → 9"))
    note_health(snapshot, health)
    assert read_snapshot(snapshot).health == health
    assert read_snapshot(snapshot).iteration == 25


def test_snapshots_are_found_by_iteration_and_other_files_ignored(snapshot: Path) -> None:
    snapshot.with_name("other.json").write_text("{}")
    assert iterations_of(snapshot.parent) == {25: snapshot}


def test_a_snapshot_is_removed_with_its_files(snapshot: Path) -> None:
    remove(snapshot)
    assert [path for path in snapshot.parent.rglob("*") if path.is_file()] == []


def test_a_snapshot_of_a_newer_version_is_refused(snapshot: Path) -> None:
    change_file(snapshot, format_version=2)
    with pytest.raises(BadInput, match=r"a\.json: format_version = 2: written by a newer caffe-harness"):
        read_snapshot(snapshot)


def test_attributes_leave_out_what_is_the_recordings_own(tmp_path: Path) -> None:
    found = attributes(run_info(ended=Ended(code=0, how="Done", onset=None)))
    assert not {"format_version", "ended"} & found.keys()


def test_a_large_net_is_read_back(tmp_path: Path) -> None:
    """A net may hold its weights as text."""
    info = run_info(net=f"layer {{ blobs {{ {'data: 0.5 ' * 600_000}}} }}")
    write_info(tmp_path, info)
    assert read_info(tmp_path) == info


def test_a_damaged_json_does_not_keep_another_snapshot_from_being_completed(snapshot: Path) -> None:
    unfinished = snapshot.parent / ".writing"
    unfinished.mkdir()
    for path in (snapshot, snapshot.with_name("a.caffemodel"), snapshot.with_name("a.solverstate")):
        path.rename(unfinished / path.name)
    (unfinished / "A.json").write_text("{")
    assert finish_snapshots(snapshot.parent) == [snapshot]
    assert snapshot.with_name("a.solverstate").exists()
    assert not list(unfinished.iterdir())


def test_nothing_is_left_of_a_run_that_never_started(tmp_path: Path) -> None:
    """Also of a recording that filled the disk while it was laid out."""
    for name in ("recording.h5.part", "run.json", "solver.log"):
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).touch()
    run_directory.remove(tmp_path / "run", True)
    assert not (tmp_path / "run").exists()
