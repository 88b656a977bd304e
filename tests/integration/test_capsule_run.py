"""capsule.py pack puts a failure into a file; run repeats it: here the same bits, elsewhere the same break."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import lmdb
import msgspec
import pytest

from harness.capsules.file.capsule_file import read_manifest, write_capsule
from harness.diagnosis.recorded.damage_span import span
from harness.diagnosis.recorded.diagnose import diagnose
from harness.processes import cores
from harness.recording import Recording
from harness.recording.run_directory import read_info, write_info
from tests.helpers.broken_training import write_broken_training
from tests.helpers.commands import train
from tests.helpers.outlying_records import BATCH, ONSET, OUTLYING, RECORDS, key_of
from tests.helpers.paths import FIXTURES, ROOT
from tests.helpers.preloaded import harness_command
from tests.helpers.processes import command

pytestmark = pytest.mark.usefixtures("one_blas_thread")

FIRST = ONSET - 5


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that three records break at iteration 45, with snapshots at every 30th."""
    home = tmp_path_factory.mktemp("capsule")  # lists of HDF5 files allow no spaces
    solver = write_broken_training(home / "data", snapshot=30, max_iter=120)
    return train(solver, home / "runs here/broken run", "--black-box-mib", 0, "--on-alarm", "continue").run


@pytest.fixture(scope="module")
def capsule(broken: Path) -> Path:
    """The capsule of that run, whose data sets are gone then."""
    done = command(sys.executable, ROOT / "harness/capsule.py", "pack", broken)
    assert done.code == 0, done.stderr
    assert "Repeating iterations 30 to 39, from the snapshot of iteration 30" in done.stderr
    path = Path(done.stdout.strip())
    assert path == broken.with_name("broken run.capsule")
    shutil.move(broken.parents[1] / "data", broken.parents[1] / "moved")
    return path


@pytest.fixture(scope="module")
def opened(capsule: Path) -> Path:
    """The run directory that the capsule opens to."""
    done = harness_command("capsule", "open", capsule, "--out", capsule.parent / "opened")
    assert done.code == 0, done.stderr
    return capsule.parent / "opened"


def run(*arguments: object, code: int = 0, env: dict[str, str] | None = None) -> Any:
    done = harness_command("capsule", "run", *arguments, "--json", env=env)
    assert done.code == code, done.stderr
    return json.loads(done.stdout)


def digests(run: Path) -> dict[int, int]:
    with h5py.File(run / "recording.h5") as file:
        return dict(zip(file["iteration"][:].tolist(), file["digest"][:].tolist(), strict=True))


def test_it_holds_the_records_that_are_read_and_no_others(opened: Path) -> None:
    info = json.loads((opened / "run.json").read_text())
    assert info["first"] == FIRST
    (source,) = {place["source"] for place in info["point"]["places"] if (place["net"], place["layer"]) == (0, "data")}
    with lmdb.open(str(opened / source), readonly=True) as data, data.begin() as reading:
        keys = [bytes(key).decode() for key, _ in reading.cursor()]
    read = {number % RECORDS for number in range(FIRST * BATCH, info["until"] * BATCH)}  # the second epoch begins
    assert keys == [key_of(number) for number in sorted(read)]
    assert set(map(key_of, OUTLYING)) <= set(keys)


def test_nothing_but_remarks_says_where_it_was_made(broken: Path, opened: Path) -> None:
    home = str(broken.parents[1])
    info = json.loads((opened / "run.json").read_text())
    for remark in ("command", "solver_file", "directory", "machine"):
        del info[remark]
    assert home not in json.dumps(info)
    for path in opened.rglob("*"):
        if path.is_file() and path.name not in ("run.json", "recording.h5"):
            assert home.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("onset", [FIRST - 1, FIRST + 1])
def test_what_is_rewound_begins_with_the_capsule_wherever_its_short_recording_shows_the_onset(
    opened: Path, onset: int
) -> None:
    with Recording(opened) as recording:
        found = diagnose(recording)
        assert found.onset is not None
        moved = replace(found, onset=replace(found.onset, iteration=onset))
        window = span(recording, moved)
    assert window is not None
    assert window.start == FIRST


def test_here_it_gives_the_same_bits(capsule: Path, broken: Path, tmp_path: Path) -> None:
    found = run(capsule, "--out", tmp_path / "kept")
    until = read_manifest(capsule).until
    assert (found["verdict"], found["reproduced"]) == ("same bits", True)
    assert found["equal"] == found["iterations"] == until - FIRST
    assert found["onset"] == found["repeated_onset"] == ONSET
    here, there = digests(tmp_path / "kept-again"), digests(broken)
    assert here == {t: there[t] for t in range(FIRST, until)}


def test_with_other_kernels_it_breaks_in_the_same_way(capsule: Path) -> None:
    found = run(capsule, env={"OPENBLAS_CORETYPE": "Nehalem"})
    assert (found["verdict"], found["reproduced"]) == ("same break, other bits", True)
    assert 0 < found["equal"] < found["iterations"]
    assert abs(found["repeated_onset"] - ONSET) <= 1
    assert any("OpenBLAS kernels for Nehalem instead of" in reason for reason in found["reasons"])


def test_with_another_number_of_threads_it_breaks_in_the_same_way(capsule: Path, opened: Path, tmp_path: Path) -> None:
    found = run(changed(opened, capsule, tmp_path, {"blas_threads": 2}))
    assert found["reproduced"]
    if cores() > 1:
        assert "2 BLAS threads instead of 1" in found["reasons"]


def test_what_does_not_break_is_told_apart(capsule: Path, opened: Path, tmp_path: Path) -> None:
    solver = json.loads((opened / "run.json").read_text())["solver"]
    slow = changed(opened, capsule, tmp_path, {"solver": solver.replace("base_lr: 0.3", "base_lr: 0.0001")})
    done = harness_command("capsule", "run", slow)
    assert done.code == 3
    assert done.stdout.startswith("It did not break in the same way\n")
    assert "the repeated one has no onset" in done.stdout


def changed(opened: Path, capsule: Path, home: Path, fields: dict[str, object]) -> Path:
    """Make another capsule of what `capsule` opens to, with other `fields` in its JSON files."""
    directory = home / "changed"
    shutil.copytree(opened, directory)
    for path in [directory / "run.json", *(directory / "snapshots").glob("*.json")]:
        path.write_text(json.dumps(json.loads(path.read_text()) | fields | {"digest": None}))
    write_info(directory, msgspec.structs.replace(read_info(directory), directory=""))
    write_capsule(directory, msgspec.structs.replace(read_manifest(capsule), members=()), home / "changed.capsule")
    return home / "changed.capsule"


def test_a_capsule_of_another_machine_has_its_bits_on_its_kernels() -> None:
    """fixtures/broken.capsule was made as `capsule`, with the kernels of OpenBLAS for Haswell."""
    found = run(FIXTURES / "broken.capsule", env={"OPENBLAS_CORETYPE": "Haswell"})
    assert (found["verdict"], found["equal"]) == ("same bits", 50)
