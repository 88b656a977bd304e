"""Capsules: packed, shown, opened and restarted; what is refused; and a part of the campaign of damaged ones."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from harness import capsule
from harness.capsules.file.capsule_file import read_manifest, write_capsule
from harness.errors import BadInput
from harness.recording import Recording
from harness.recording.metadata import content_digest
from harness.recording.run_directory import read_info
from tests.helpers.commands import restart
from tests.helpers.paths import ROOT
from tests.helpers.processes import command, started, wait_for
from tools.campaigns.base_capsules import put_together, take_apart
from tools.campaigns.capsules import base, check

CAPSULE = ROOT / "harness/capsule.py"
CASES = range(30)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with `run`, its minimal run directory `minimal`, and `minimal.capsule`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAMPAIGN_HOME", str(tmp_path_factory.mktemp("campaign")))
        base.cache_clear()
        return base()


def changed(home: Path, out: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Write a capsule with changed members, and with digests that fit."""
    parts = take_apart(home / "minimal.capsule")
    change(parts.members)
    put_together(parts, out)
    return out


def flip(members: dict[str, bytes], name: str, at: int) -> None:
    data = bytearray(members[name])
    data[at] ^= 1
    members[name] = bytes(data)


def edit_json(members: dict[str, bytes], name: str, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(members[name])
    change(content)
    if "digest" in content:
        content["digest"] = content_digest(content)
    members[name] = json.dumps(content).encode()


def test_any_unzip_tool_and_zstandard_read_it(home: Path) -> None:
    """As an independent reader decodes the members: they are the files of the run directory."""
    parts = take_apart(home / "minimal.capsule")
    minimal = home / "minimal"
    files = [path for path in minimal.rglob("*") if path.is_file() and path.name != "lock.mdb"]
    assert parts.members == {path.relative_to(minimal).as_posix(): path.read_bytes() for path in files}
    with zipfile.ZipFile(home / "minimal.capsule") as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "capsule.json"
    assert [head["name"] for head in parts.manifest["broke"]["heads"]] == ["loss1/loss1", "loss3/loss3"]


def test_the_same_files_give_the_same_capsule(home: Path, tmp_path: Path) -> None:
    write_capsule(home / "minimal", read_manifest(home / "minimal.capsule"), tmp_path / "again.capsule")
    assert (tmp_path / "again.capsule").read_bytes() == (home / "minimal.capsule").read_bytes()
    with pytest.raises(BadInput, match="exists already, and a capsule never replaces a file"):
        write_capsule(home / "minimal", read_manifest(home / "minimal.capsule"), tmp_path / "again.capsule")


def test_an_opened_capsule_restarts_to_the_recorded_bits(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs of others/jump"
    done = command(sys.executable, CAPSULE, "open", home / "minimal.capsule", "--out", out, cwd=tmp_path)
    assert (done.code, done.stdout) == (0, f"{out}\n"), done.stderr
    out = out.rename(tmp_path / "moved")
    restart(out, "--from", 80, "--out", tmp_path / "again", "--on-alarm", "continue", cwd=Path("/"))
    verified = read_info(tmp_path / "again").verified
    assert verified is not None
    assert (verified.compared, verified.equal, verified.problem) == (50, 50, None)
    with Recording(home / "run") as run, Recording(tmp_path / "again") as again:
        assert np.array_equal(run.series("digest")[80:], again.series("digest"))


def test_what_is_in_it_is_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert capsule.main(["show", str(home / "minimal.capsule")]) == 0
    shown = capsys.readouterr().out
    for text in ("Broke at iteration 100: loss ", "80 … 129 (50)", "SGD, base_lr 0.01", "data/0: LMDB, 203 records"):
        assert text in shown
    assert "the same bits can be expected" in shown
    assert capsule.main(["show", str(home / "minimal.capsule"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["first"], told["until"], told["broke"]["onset"]) == (80, 130, 100)
    assert told["this_machine"] == {"same_bits_expected": True, "differences": []}
    assert told["data"] == [{"source": "data/0", "kind": "LMDB", "records": 203}]
    assert told["python_layers"] == []
    assert (told["solver"]["type"], told["solver"]["base_lr"]) == ("SGD", 0.01)


def test_python_layers_are_listed_and_need_trust(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = 'layer { name: "p" type: "Python" top: "x" python_param { module: "os" layer: "abort" } }'

    def add(content: dict[str, Any]) -> None:
        content["net"] += python

    path = changed(home, tmp_path / "x.capsule", lambda members: edit_json(members, "run.json", add))
    said = "layer p runs abort of the Python module os"
    assert capsule.main(["show", str(path)]) == 0
    assert said in capsys.readouterr().out
    assert capsule.main(["open", str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "give --trust" in error
    assert not (tmp_path / "out").exists()
    assert capsule.main(["open", str(path), "--out", str(tmp_path / "out"), "--trust"]) == 0


def in_solver(text: str) -> Callable[[dict[str, Any]], object]:
    """Append to the solver, without its snapshot_prefix, which may be there once."""
    return lambda content: content.update(solver=re.sub("snapshot_prefix.*", "", content["solver"]) + text)


def in_net(text: str) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.update(net=content["net"] + text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_solver('weights: "/x"'), "solver: weights = /x: refused"),
        (in_solver('net: "train.prototxt"'), "net = train.prototxt: refused"),
        (in_solver('snapshot_prefix: "/tmp/x"'), "snapshot_prefix = /tmp/x: refused: a path"),
        (in_solver('snapshot_prefix: "../x"'), "snapshot_prefix = ../x: refused"),
        (
            in_net('layer { name: "o" hdf5_output_param { file_name: "x" } }'),
            "layer o: file_name = x: refused: the net",
        ),
        (in_net('layer { name: "o" type: "HDF5Output" }'), "layer o: type = HDF5Output: refused: such a layer writes"),
        (in_net('layer { name: "d" data_param { source: "/etc" } }'), "source = /etc: refused: not a file of this"),
        (in_net('layer { name: "d" data_param { source: "data/0/../0" } }'), "source = data/0/../0: refused"),
        (in_net('layer { name: "i" image_data_param { root_folder: "/" } }'), "root_folder = /: refused"),
        (in_net('layer { name: "i" infogain_loss_param { source: "x" } }'), "layer i: source = x: refused"),
        (in_net('layer { name: "m" transform_param { mean_file: "x" } }'), "layer m: mean_file = x: refused"),
        (in_net('layers { name: "old" type: DATA }'), "net: refused: it has layers in the format before 2014"),
        (lambda content: content.update(goes_on_from="/x"), "goes_on_from = /x: refused: the run in a capsule"),
        (lambda content: content.update(weights=["/x"]), "weights = ('/x',): refused"),
        (lambda content: content.update(resume="/x"), "resume = /x: refused"),
        (lambda content: content["point"]["places"][0].update(source="/x"), "source = /x: refused"),
        (lambda content: content.update(first=81), "first = 81: damaged, or of another capsule: capsule.json says 80"),
    ],
)
def test_a_training_that_names_something_else_is_refused(
    home: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], object],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = changed(home, tmp_path / "x.capsule", lambda members: edit_json(members, "run.json", change))
    for arguments in (["show", str(path)], ["open", str(path), "--out", str(tmp_path / "out")]):
        assert capsule.main(arguments) == 2
        error = capsys.readouterr().err
        assert f"{path}: run.json" in error
        assert said in error
    assert list(tmp_path.iterdir()) == [path]


WINDOWS = b"# 0\n../x.png\n3\n9\n9\n1\n1 0.9 0 0 4 4\n"


@pytest.mark.parametrize(
    ("layer", "files", "said"),
    [
        ("ImageData", {"list.txt": b"/etc/passwd 0\n"}, "path = data/1//etc/passwd: refused"),
        ("ImageData", {"list.txt": b"../0/data.mdb 0\n"}, "path = data/1/../0/data.mdb: refused"),
        ("ImageData", {}, "source = data/1/list.txt: refused"),
        ("HDF5Data", {"list.txt": b"data/1/a.h5 /etc/b.h5"}, "path = data/1/a.h5: refused"),
        ("HDF5Data", {"list.txt": b"data/1/a.h5", "a.h5": b"none"}, "data/1/a.h5: not an HDF5 file"),
        ("HDF5Data", {"list.txt": b"data/1/a.h5", "a.h5": b"linked"}, "a.h5: refused: /data is a link to another"),
        ("WindowData", {"list.txt": WINDOWS}, "path = data/1/../x.png: refused"),
        ("WindowData", {"list.txt": b"# 0"}, "list.txt: not a window file"),
    ],
)
def test_lists_lead_to_members(
    home: Path, tmp_path: Path, layer: str, files: dict[str, bytes], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["data"] = h5py.ExternalLink("/etc/x.h5", "/data")
    linked = (tmp_path / "linked.h5").read_bytes()
    (tmp_path / "linked.h5").unlink()
    param = {"ImageData": "image_data", "HDF5Data": "hdf5_data", "WindowData": "window_data"}[layer]
    root = "" if layer == "HDF5Data" else 'root_folder: "data/1/"'
    text = f'layer {{ name: "l" type: "{layer}" {param}_param {{ source: "data/1/list.txt" {root} }} }}'

    def add(members: dict[str, bytes]) -> None:
        members |= {f"data/1/{name}": linked if data == b"linked" else data for name, data in files.items()}
        edit_json(members, "run.json", in_net(text))

    path = changed(home, tmp_path / "x.capsule", add)
    assert capsule.main(["open", str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert said in error
    assert list(tmp_path.iterdir()) == [path]


def test_other_records_than_those_of_the_run_are_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(members: dict[str, bytes]) -> None:
        flip(members, "data/0/data.mdb", members["data/0/data.mdb"].rindex(b"_img7.png") + 30)

    path = changed(home, tmp_path / "x.capsule", change)
    assert capsule.main(["open", str(path), "--out", str(tmp_path / "out")]) == 2
    assert f"{path}: data/0: damaged, or of another capsule: these are not the records" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_records_that_are_not_there_are_not_left_out(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(members: dict[str, bytes]) -> None:
        for name in ("run.json", "snapshots/native_iter_80.json"):
            edit_json(members, name, lambda content: content["point"]["places"][0].update(excluded=[10**6]))

    path = changed(home, tmp_path / "x.capsule", change)
    assert capsule.main(["open", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "excluded = (1000000,): damaged: a capsule has none but the records" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_other_weights_than_those_of_the_run_are_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "snapshots/native_iter_80.caffemodel"
    path = changed(home, tmp_path / "x.capsule", lambda members: flip(members, name, len(members[name]) // 2))
    assert capsule.main(["open", str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert f"{path}: {name}: weight_digest = " in error
    assert "damaged, or of another snapshot: its JSON has the digest" in error


@pytest.mark.parametrize("name", ["run.json", "recording.h5", "data/0/data.mdb"])
def test_damage_is_found_before_anything_appears(
    home: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.capsule"
    shutil.copy(home / "minimal.capsule", path)
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(f"{name}.zst")
        at = entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)
    for arguments in (["show", str(path)], ["open", str(path), "--out", str(tmp_path / "out")]):
        assert capsule.main(arguments) == 2
        assert f"error: {path}: {name}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_is_not_empty_stays_as_it_is(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes").write_text("mine")
    assert capsule.main(["open", str(home / "minimal.capsule"), "--out", str(tmp_path)]) == 2
    assert "not empty, and a run never writes over another" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]
    for out, said in ((tmp_path / ("x" * 300), "too long"), (tmp_path / "notes/out", "Not a directory")):
        assert capsule.main(["open", str(home / "minimal.capsule"), "--out", str(out)]) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert capsule.main(["open", str(home / "minimal.capsule"), "--out", str(tmp_path / "empty")]) == 0
    assert read_info(tmp_path / "empty").directory == str(tmp_path / "empty")
    assert json.loads((tmp_path / "empty/run.json").read_text())["directory"] == ""


def test_sigterm_leaves_nothing_behind(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with started(sys.executable, CAPSULE, "open", home / "minimal.capsule", "--out", out) as process:
        wait_for(lambda: any(tmp_path.glob(".out.*")), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    assert not list(tmp_path.iterdir())


def test_damaged_capsules_give_a_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of the campaign; `python -m tools.campaigns capsules` runs all of it."""
    monkeypatch.setenv("CAMPAIGN_HOME", str(home.parent))
    found = [check(number) for number in CASES]
    assert [case for case in found if case.failure] == []
    assert {case.outcome for case in found} == {"exit 0", "exit 2"}
