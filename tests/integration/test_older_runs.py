"""A run that version 0.1.0 recorded opens, is diagnosed, reported and restarted as it was then.

`fixtures/run-0.1.0.tar.xz` holds the run's directory and data, `run-0.1.0.json` what version 0.1.0 said of it.
"""

from __future__ import annotations

import json
import tarfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api.runs import exactness
from harness.capsules.file.capsule_file import read_manifest
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.recorded.diagnose import diagnose
from harness.recording import Recording
from harness.recording.run_directory import read_info
from harness.training_data.read import read_records
from tests.helpers.commands import restart
from tests.helpers.paths import FIXTURES
from tests.helpers.preloaded import harness_command

EXPECTED: dict[str, Any] = json.loads((FIXTURES / "run-0.1.0.json").read_text())
DISPLAY = 20
# The kernels with which the run was recorded: others give other bits.
KERNELS = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which the solver was started, with `runs/jump` in it."""
    home = tmp_path_factory.mktemp("0.1.0")
    with tarfile.open(FIXTURES / "run-0.1.0.tar.xz") as archive:
        archive.extractall(home)
    return home


def test_the_recording_opens_with_the_same_numbers(home: Path) -> None:
    with Recording(home / "runs/jump") as run:
        assert [f"{digest:016x}" for digest in run.series("digest").tolist()] == EXPECTED["digest"]
        assert [str(window) for window in run.windows] == EXPECTED["windows"]
        assert [key.decode() for key in run.keys(101)][:8] == EXPECTED["keys"]
        norms = run.stat("gradient_l2")
        row = dict(zip(norms.labels, norms.values[101].tolist(), strict=True))
        assert row == EXPECTED["gradient_l2_at_101"]
        np.testing.assert_array_equal(
            run.weight(102, "conv1/3x3"), run.weight(101, "conv1/3x3") - run.update(101, "conv1/3x3")
        )


def test_the_diagnosis_is_the_same(home: Path) -> None:
    with Recording(home / "runs/jump") as run:
        found = diagnose(run, DISPLAY, read_limits())
        default = diagnose(run)  # with the solver's display interval, and the limits as they are
        assert (default.alarms, default.onset, default.names) == (found.alarms, found.onset, found.names)
    assert [asdict(alarm) for alarm in found.alarms] == EXPECTED["alarms"]
    assert found.onset is not None
    assert asdict(found.onset) == EXPECTED["onset"] | {
        "reason": "loss 0.9044 → at most 77.81 while finite; gradient norm 134.4 at iteration 102, 39.8 times its "
        "baseline of 3.37, most in conv1/3x3/0 (×95.2); gradient of conv1/3x3/0 and 5 more not finite at iteration 107"
    }


def test_its_records_are_read_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the window they equal what was recorded; run.json has neither seeds nor indices of layers."""
    monkeypatch.chdir(home)
    with Recording(home / "runs/jump") as run:
        for iteration in run.window_iterations.tolist():
            found = read_records(home / "runs/jump", iteration)
            (layer,) = found.layers
            assert [record.key.encode() for record in layer.records] == run.keys(iteration)
            for blob, values in found.inputs.items():
                assert values.tobytes() == run.input(iteration, blob).tobytes()
        batch = diagnose(run).batch(EXPECTED["last_good"])
        assert batch is not None
        assert batch.source == "data set"


@pytest.mark.parametrize(("start", "until"), [("last-good", 101), ("99", 103)], ids=["snapshot", "window"])
def test_a_restart_repeats_the_run_bit_for_bit(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, until: int
) -> None:
    for name, value in KERNELS.items():
        monkeypatch.setenv(name, value)
    restart("runs/jump", "--from", start, "--until", until, "--out", tmp_path / "again", cwd=home)
    with Recording(tmp_path / "again") as run:
        assert run.iterations[0] == (EXPECTED["last_good"] if start == "last-good" else 99)
        digests = [f"{digest:016x}" for digest in run.series("digest").tolist()]
        assert digests == EXPECTED["digest"][run.iterations[0] : until]
        verified = exactness(run).verified
        assert verified is not None
        assert verified.compared == verified.equal == len(digests)
        assert run.digest_kind == read_info(tmp_path / "again").digest_kind == "xxh3"  # as the run has it


def test_the_report_names_the_onset(home: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = harness_command("report", "runs/jump", "--out", page, cwd=home)
    assert done.code == 0, done.stderr
    assert f"Training broke at iteration {EXPECTED['onset']['iteration']}" in page.read_text()


def test_the_verdict_on_the_log_is_the_same(home: Path) -> None:
    done = harness_command("readlog", "runs/jump", "--json", cwd=home)
    assert done.code == 0, done.stderr
    assert _known_fields(json.loads(done.stdout), EXPECTED["readlog"]) == _known_fields(EXPECTED["readlog"])


def _known_fields(value: Any, known: Any = None) -> Any:
    """Return `value` with the fields that objects have in `known` (default: all), but for the sentences of findings."""
    known = value if known is None else known
    if isinstance(value, dict) and isinstance(known, dict):
        return {name: _known_fields(value[name], known[name]) for name in known if name != "findings"}
    if isinstance(value, list) and isinstance(known, list) and len(value) == len(known):
        return [_known_fields(*pair) for pair in zip(value, known, strict=True)]
    return value


def test_the_run_is_packed(home: Path, tmp_path: Path) -> None:
    """A capsule is written only if training it gives the digests that version 0.1.0 recorded."""
    file = tmp_path / "jump.capsule"
    done = harness_command("capsule", "pack", home / "runs/jump", "--out", file, cwd=home, env=KERNELS)
    assert done.code == 0, done.stderr
    manifest = read_manifest(file)
    assert (manifest.first, manifest.broke and manifest.broke.onset) == (97, 102)
