"""What capsule.py pack begins with, and what it refuses, before or while it repeats a run; nothing is left behind then.

A capsule is written only if training it gives the recorded digests.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import lmdb
import pytest

from harness import capsule
from harness.caffe_files.messages import pb
from harness.capsules.file.capsule_file import read_manifest
from tests.helpers.commands import restart, train
from tests.helpers.lmdbs import RECORDS, digits, write_lmdb
from tests.helpers.mounts import run_on_disk
from tests.helpers.nets import small_net, solver_text
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.usefixtures("one_blas_thread")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 24 iterations in which nothing breaks, with a snapshot at 10 and the window 13:16."""
    home = tmp_path_factory.mktemp("healthy")
    for name, count in (("train", RECORDS), ("test", 70)):
        write_lmdb(home / name, *digits(count, 1))
    (home / "net.prototxt").write_text(small_net(home))
    (home / "solver.prototxt").write_text(
        solver_text(home / "net.prototxt", home / "run", max_iter=24, snapshot=10, test_interval=8)
    )
    return train(home / "solver.prototxt", home / "run", "--watch", "13:16").run


@pytest.mark.parametrize(
    ("at", "first", "begins"), [(2, 0, "its start"), (15, 10, "snapshot of iteration 10"), (19, 14, "14 in a window")]
)
def test_a_capsule_begins_where_something_was_kept(
    healthy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], at: int, first: int, begins: str
) -> None:
    """Also before iteration 0, of whose weights the run has no file."""
    said = packed(capfd, healthy, "--at", at, "--length", 6, "--out", tmp_path / "F.capsule")
    assert f"It begins at iteration {first} (" in said
    assert begins in said
    manifest = read_manifest(tmp_path / "F.capsule")
    assert (manifest.first, manifest.until, manifest.broke) == (first, first + 6, None)


def test_a_gap_in_the_data_that_is_still_to_come(
    healthy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    restart(healthy, "--from", 10, "--skip", "14:16", "--out", tmp_path / "run")
    said = packed(capfd, tmp_path / "run", "--at", 16, "--out", tmp_path / "F.capsule")
    assert f"Layer data reads {(2 + 24 - 11) * 8} of {RECORDS} records" in said  # with those of the gap


def packed(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert capsule.main(["pack", *map(str, arguments)]) == 0
    return capfd.readouterr().err


def refused(capfd: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    assert capsule.main(["pack", *map(str, arguments)]) == code
    said = capfd.readouterr().err
    assert "Traceback" not in said
    return said


def test_a_run_in_which_nothing_breaks(healthy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "nothing broke in it, as far as is known. Give the iteration around which to pack: --at T" in refused(
        capfd, healthy
    )
    assert "--at 24: the run recorded iterations 0 to 23" in refused(capfd, healthy, "--at", 24)
    assert "--length 0: not a number of iterations" in refused(capfd, healthy, "--at", 12, "--length", 0)


def test_a_run_on_a_gpu(healthy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(healthy, tmp_path / "run")
    info = json.loads((tmp_path / "run/run.json").read_text()) | {"mode": "GPU 0"}
    (tmp_path / "run/run.json").write_text(json.dumps(info))
    assert "mode = GPU 0" in refused(capfd, tmp_path / "run", "--at", 12)


def test_a_net_whose_data_have_no_position(healthy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(healthy, tmp_path / "run")
    info = json.loads((tmp_path / "run/run.json").read_text())
    info["net"] += 'layer { name: "script" type: "Python" top: "noise" python_param { module: "m" layer: "L" } }'
    (tmp_path / "run/run.json").write_text(json.dumps(info))
    assert "where layer script (Python) stood in its data is not known" in refused(capfd, tmp_path / "run", "--at", 12)


def test_other_kernels_than_those_of_the_run(
    healthy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    said = refused(capfd, healthy, "--at", 22, "--out", tmp_path / "F.capsule")
    assert (
        "its weights before iteration 16 are other ones when it is repeated here (OpenBLAS kernels for Nehalem" in said
    )
    assert not list(tmp_path.iterdir())


def test_a_full_disk(healthy: Path, tmp_path: Path) -> None:
    script = (
        f'TMPDIR="$DISK" {sys.executable} {ROOT}/harness/capsule.py pack {healthy} --at 12 --out {tmp_path}/F.capsule'
    )
    done = run_on_disk("6m", tmp_path / "disk", script)
    assert done.code == 1, done.stderr
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "F.capsule").exists()


def test_data_that_have_changed(healthy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with lmdb.open(str(healthy.parent / "train"), map_size=1 << 30) as data, data.begin(write=True) as writing:
        key = b"00000100_img100.png"
        datum = pb.Datum.FromString(writing.get(key) or b"")
        datum.label = (datum.label + 1) % 5
        writing.put(key, datum.SerializeToString())
    assert "the LMDB has changed since the snapshot was made" in refused(capfd, healthy, "--at", 20)
    shutil.rmtree(healthy.parent / "train")
    assert "no such LMDB directory" in refused(capfd, healthy, "--at", 20)
