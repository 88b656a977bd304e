"""capsule.py shrink and pack --anonymous --blank: smaller, without names, and it still breaks in the same way."""

from __future__ import annotations

import getpass
import json
import platform
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import lmdb
import pytest

from harness.caffe_files.messages import pb
from harness.capsules.file.capsule_file import read_manifest, unpack
from harness.capsules.shrinking.record_edits import RecordEdits
from harness.capsules.shrinking.reductions import Reduction, reduce_run
from harness.recording import Recording
from harness.recording.run_directory import read_info
from tests.helpers.commands import restart, train
from tests.helpers.outlying_records import ONSET, write_records, write_training
from tests.helpers.paths import ROOT
from tests.helpers.processes import PATIENCE, Finished, command, started

pytestmark = pytest.mark.usefixtures("one_blas_thread")

CAPSULE = ROOT / "harness/capsule.py"


def capsule_command(*arguments: object) -> Finished:
    done = command(sys.executable, CAPSULE, *arguments)
    assert done.code == 0, done.stderr
    return done


def same_bits(capsule: Path) -> bool:
    return bool(json.loads(capsule_command("run", capsule, "--json").stdout)["verdict"] == "same bits")


def values_in(run: Path) -> dict[bytes, bytes]:
    with lmdb.open(str(run / "data/0"), readonly=True, lock=False) as environment, environment.begin() as reading:
        return dict(reading.cursor())


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that three records break at iteration 45."""
    home = tmp_path_factory.mktemp("secret-place")
    source = write_records(home / "undisclosed/train_lmdb")
    return train(write_training(home, source, max_iter=100), home / "confidential", "--black-box-mib", 0).run


@pytest.fixture(scope="module")
def anonymous(broken: Path) -> Path:
    """Its capsule, without names."""
    path = broken.with_name("anonymous.capsule")
    capsule_command("pack", broken, "--anonymous", "--length", 14, "--out", path)
    return path


def test_nothing_in_an_anonymous_capsule_says_where_it_comes_from(
    broken: Path, anonymous: Path, tmp_path: Path
) -> None:
    capsule_command("open", anonymous, "--out", tmp_path / "run")
    command("unzip", "-q", anonymous, "index.html", "capsule.json", "-d", tmp_path / "zip")
    words = [
        "secret-place",
        "undisclosed",
        "confidential",
        "train_lmdb",
        "outlying",
        "_pic",
        str(broken.parent),
        "--black-box",
        "caffe-harness-",  # of the temporary directory in which it was packed
    ]
    words += [word for word in (platform.node(), getpass.getuser()) if len(word) > 4]  # others are parts of words
    found = [path for part in ("run", "zip") for path in (tmp_path / part).rglob("*") if path.is_file()]
    texts = {path: path.read_bytes() for path in found}
    with h5py.File(tmp_path / "run/recording.h5") as file:
        texts[Path("attributes")] = repr(dict(file.attrs)).encode()
    for path, content in texts.items():
        content = content.replace(str(tmp_path / "run").encode(), b"")  # of the directory that it was opened to
        assert [word for word in words if word.encode() in content] == [], path
    info = json.loads((tmp_path / "run/run.json").read_text())
    assert (info["machine"], info["command"], info["started"][:4]) == ("", [], "1970")
    assert read_manifest(anonymous).anonymous


def test_an_anonymous_capsule_has_the_same_bits(anonymous: Path) -> None:
    assert same_bits(anonymous)


def test_what_is_changed_can_be_trained(anonymous: Path, tmp_path: Path) -> None:
    """Records with other contents and without pixels, a frozen layer, no history, few bits: Caffe takes all of it."""
    unpack(anonymous, tmp_path / "run")
    edits = RecordEdits({0: 9, 30: 9}, blank=frozenset([1, 2]))
    changes = Reduction({"data/0": edits}, frozenset(["ip1"]), without_history=True, mantissa=4)
    reduce_run(tmp_path / "run", changes, tmp_path / "changed")
    info = read_info(tmp_path / "changed")
    restart(tmp_path / "changed", "--from", info.first, "--until", info.first + 3, "--out", tmp_path / "out")
    with Recording(tmp_path / "out") as recording:
        norms, updates = recording.stat("weight_l2").values, recording.stat("update_l2").values
        still = [param.layer == "ip1" for param in recording.params]
        assert [param.lr_mult == 0 for param in recording.params] == still
    assert (norms == norms[0]).all(axis=0).tolist() == still
    assert (updates == 0).all(axis=0).tolist() == still
    before, after = values_in(tmp_path / "run"), values_in(tmp_path / "changed")
    assert list(before) == list(after)
    datums = [pb.Datum.FromString(value) for value in after.values()]
    assert datums[0] == datums[30] == pb.Datum.FromString(list(before.values())[9])
    assert [len(set(datum.float_data)) for datum in datums[1:3]] == [1, 1]


def test_an_interrupted_search_leaves_the_smallest_capsule_so_far(broken: Path, tmp_path: Path) -> None:
    packed, small = tmp_path / "packed.capsule", tmp_path / "packed-small.capsule"
    capsule_command("pack", broken, "--out", packed)
    before = packed.read_bytes()
    with started(sys.executable, CAPSULE, "shrink", packed, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.startswith("iterations: "))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
    assert out.strip() == str(small)
    assert "Interrupted: not everything was tried." in err
    assert packed.read_bytes() == before
    assert small.stat().st_size < len(before)
    manifest = read_manifest(small)
    assert manifest.broke is not None
    assert abs(manifest.broke.onset - ONSET) <= 1
    assert manifest.first == ONSET - 1
    assert manifest.shrunk
    assert same_bits(small)


def test_the_end_of_the_budget_keeps_what_was_found(anonymous: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.capsule"
    done = capsule_command("shrink", anonymous, "--budget", 1, "--out", small)
    assert "The budget is spent: not everything was tried." in done.stderr
    assert read_manifest(small).anonymous
    done = command(sys.executable, CAPSULE, "shrink", anonymous, "--out", small)
    assert done.code == 2
    assert "exists already" in done.stderr


def test_iterations_that_show_no_onset_are_refused(broken: Path, tmp_path: Path) -> None:
    options = ("--blank", "--at", ONSET + 5, "--length", 2, "--out", tmp_path / "x")
    done = command(sys.executable, CAPSULE, "pack", broken, *options)
    assert done.code == 2
    assert "too few to show the onset" in done.stderr or "nothing breaks in these iterations" in done.stderr
    assert not (tmp_path / "x").exists()
